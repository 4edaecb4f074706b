data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  kinds = merge({ cpu = var.cpu }, var.enable_gpu ? { gpu = var.gpu } : {})

  # Amazon Linux 2 is out of support; AL2023 has no drivers for GPUs older than g4dn and p4.
  image_types = { cpu = "ECS_AL2023", gpu = "ECS_AL2023_NVIDIA" }

  # Tried in this order: what Spot has no room for falls back to on-demand, up to its own, smaller
  # limit, which bounds the bill.
  environments = merge([
    for kind, of in local.kinds : {
      "${kind}-spot" = {
        kind     = kind
        type     = "SPOT"
        strategy = "SPOT_PRICE_CAPACITY_OPTIMIZED"
        vcpus    = of.spot_max_vcpus
      }
      "${kind}-on-demand" = {
        kind     = kind
        type     = "EC2"
        strategy = "BEST_FIT_PROGRESSIVE"
        vcpus    = of.on_demand_max_vcpus
      }
    }
  ]...)
}

# Transcripts are licensed: the disk they pass through is encrypted.
resource "aws_launch_template" "instances" {
  name_prefix = "${var.name}-"

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  dynamic "tag_specifications" {
    for_each = length(var.instance_tags) == 0 ? [] : ["volume"]

    content {
      resource_type = tag_specifications.value
      tags          = var.instance_tags
    }
  }
}

resource "aws_batch_compute_environment" "this" {
  for_each = local.environments

  compute_environment_name_prefix = "${var.name}-${each.key}-"

  type         = "MANAGED"
  state        = "ENABLED"
  service_role = var.service_role_arn

  compute_resources {
    type                = each.value.type
    allocation_strategy = each.value.strategy
    instance_type       = local.kinds[each.value.kind].instance_types
    min_vcpus           = 0
    max_vcpus           = each.value.vcpus

    instance_role      = local.instance_profile_arn
    subnets            = var.subnet_ids
    security_group_ids = var.security_group_ids
    tags               = merge(var.instance_tags, { Name = "${var.name}-${each.key}" })

    ec2_configuration {
      image_type = local.image_types[each.value.kind]
    }

    launch_template {
      launch_template_id = aws_launch_template.instances.id
      version            = aws_launch_template.instances.latest_version
    }
  }

  lifecycle {
    # A queue must never be without its environment, and Batch deletes none that a queue uses.
    create_before_destroy = true
  }

  # Batch needs the role to shut instances down, so on destroy it goes last.
  depends_on = [aws_iam_role_policy_attachment.instance]
}

resource "aws_batch_job_queue" "this" {
  for_each = local.kinds

  name     = "${var.name}-${each.key}"
  state    = "ENABLED"
  priority = 1

  dynamic "compute_environment_order" {
    for_each = ["spot", "on-demand"]

    content {
      order               = compute_environment_order.key + 1
      compute_environment = aws_batch_compute_environment.this["${each.key}-${compute_environment_order.value}"].arn
    }
  }

  # The first job of a queue keeps all others waiting, so none may wait for ever.
  dynamic "job_state_time_limit_action" {
    for_each = {
      "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE" = var.misconfigured_limit_s
      "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"         = var.misconfigured_limit_s
      "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"           = var.no_capacity_limit_s
    }

    content {
      state            = "RUNNABLE"
      action           = "CANCEL"
      reason           = job_state_time_limit_action.key
      max_time_seconds = job_state_time_limit_action.value
    }
  }
}
