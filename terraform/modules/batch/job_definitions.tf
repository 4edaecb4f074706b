locals {
  jobs = {
    cpu = {
      image     = var.image
      vcpus     = var.cpu_job.vcpus
      resources = { VCPU = var.cpu_job.vcpus, MEMORY = var.cpu_job.memory_mib }
    }
    gpu = {
      image     = var.gpu_image
      vcpus     = var.gpu_job.vcpus
      resources = { VCPU = var.gpu_job.vcpus, MEMORY = var.gpu_job.memory_mib, GPU = var.gpu_job.gpus }
    }
  }

  # Instances run several jobs at once and a container sees all of their cores, so each is told its
  # own. Waiting OpenMP threads that spin take them from the others.
  environments_of_jobs = {
    for kind, job in local.jobs : kind => {
      AWS_DEFAULT_REGION   = local.region
      DATA_SOURCE          = "s3"
      EMBEDDING_MODEL_NAME = var.embedding_model
      FTM_STORE            = var.store_url
      FTM_WORKER_CORES     = tostring(job.vcpus)
      OMP_NUM_THREADS      = tostring(job.vcpus)
      OMP_WAIT_POLICY      = "passive"
    }
  }

  naming = var.llm.api_key_secret_arn != null && var.image != null

  logging = {
    logDriver = "awslogs"
    options = {
      "awslogs-group"  = var.log_group.name
      "awslogs-region" = local.region
    }
  }
}

resource "aws_batch_job_definition" "map" {
  for_each = { for kind in keys(local.kinds) : kind => local.jobs[kind] if local.jobs[kind].image != null }

  name                  = "${var.name}-map-${each.key}"
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  # A run is finished with the image that began it: the old revision has to stay active.
  deregister_on_new_revision = false

  container_properties = jsonencode({
    image            = each.value.image
    command          = ["python", "-m", "ftm.worker", "map"]
    jobRoleArn       = local.map_role_arn
    executionRoleArn = local.execution_role_arn

    environment          = [for name, value in local.environments_of_jobs[each.key] : { name = name, value = value }]
    resourceRequirements = [for type, value in each.value.resources : { type = type, value = tostring(value) }]

    # numba, torch and the cluster processes write to /tmp.
    readonlyRootFilesystem = false

    logConfiguration = {
      logDriver = local.logging.logDriver
      options   = merge(local.logging.options, { "awslogs-stream-prefix" = "map-${each.key}" })
    }
  })

  retry_strategy {
    attempts = var.job_attempts

    # A host lost to Spot. Without the second rule Batch also retries what no rule matches.
    evaluate_on_exit {
      action           = "RETRY"
      on_status_reason = "Host EC2*"
    }

    evaluate_on_exit {
      action    = "EXIT"
      on_reason = "*"
    }
  }

  timeout {
    attempt_duration_seconds = var.job_timeout_s
  }
}

# The only job that gets a secret. It runs on the CPU queue: the model is on the server it asks.
resource "aws_batch_job_definition" "name" {
  count = local.naming ? 1 : 0

  name                  = "${var.name}-name"
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  # A run is finished with the image that began it: the old revision has to stay active.
  deregister_on_new_revision = false

  container_properties = jsonencode({
    image            = var.image
    command          = ["python", "-m", "ftm.worker", "name"]
    jobRoleArn       = local.name_role_arn
    executionRoleArn = local.name_execution_role_arn

    environment = [
      for name, value in merge(local.environments_of_jobs.cpu, {
        FTM_ALLOW_EXTERNAL_LLM = tostring(var.llm.allow_external)
        FTM_NAMING             = "llm"
        LLM_BASE_URL           = var.llm.base_url
        LLM_MODEL_NAME         = var.llm.model_name
      }) : { name = name, value = value }
    ]
    secrets              = [{ name = "LLM_API_KEY", valueFrom = var.llm.api_key_secret_arn }]
    resourceRequirements = [for type, value in local.jobs.cpu.resources : { type = type, value = tostring(value) }]

    readonlyRootFilesystem = false

    logConfiguration = {
      logDriver = local.logging.logDriver
      options   = merge(local.logging.options, { "awslogs-stream-prefix" = "name" })
    }
  })

  retry_strategy {
    attempts = var.job_attempts

    evaluate_on_exit {
      action           = "RETRY"
      on_status_reason = "Host EC2*"
    }

    evaluate_on_exit {
      action    = "EXIT"
      on_reason = "*"
    }
  }

  timeout {
    attempt_duration_seconds = var.job_timeout_s
  }
}
