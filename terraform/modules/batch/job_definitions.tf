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

  # The stages after map need more memory, since each has the whole quarter, and no GPU.
  environment_of_stages = merge(
    {
      AWS_DEFAULT_REGION = local.region
      DATA_SOURCE        = "s3"
      FTM_STORE          = var.store_url
      OMP_NUM_THREADS    = tostring(var.stage_job.vcpus)
      OMP_WAIT_POLICY    = "passive"
    },
    var.llm.base_url == null ? {} : {
      FTM_ALLOW_EXTERNAL_LLM = tostring(var.llm.allow_external)
      LLM_BASE_URL           = var.llm.base_url
      LLM_MODEL_NAME         = var.llm.model_name
    },
  )

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

# reduce, name and package, one job each, on the CPU queue: a language model is on the server that
# name asks. The only job definition with a secret; the command of a job says which stage it is.
resource "aws_batch_job_definition" "stages" {
  count = var.image != null ? 1 : 0

  name                  = "${var.name}-stages"
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  # A run is finished with the image that began it: the old revision has to stay active.
  deregister_on_new_revision = false

  container_properties = jsonencode({
    image            = var.image
    command          = ["python", "-m", "ftm.worker", "reduce"]
    jobRoleArn       = local.stages_role_arn
    executionRoleArn = local.stages_execution_role_arn

    environment          = [for name, value in local.environment_of_stages : { name = name, value = value }]
    secrets              = [for secret in compact([var.llm.api_key_secret_arn]) : { name = "LLM_API_KEY", valueFrom = secret }]
    resourceRequirements = [for type, value in { VCPU = var.stage_job.vcpus, MEMORY = var.stage_job.memory_mib } : { type = type, value = tostring(value) }]

    readonlyRootFilesystem = false

    logConfiguration = {
      logDriver = local.logging.logDriver
      options   = merge(local.logging.options, { "awslogs-stream-prefix" = "stages" })
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
