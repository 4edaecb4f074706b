variable "name" {
  description = "Begins the names of what is made."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}[a-z0-9]$", var.name))
    error_message = "name: 2 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

# The store

variable "bucket_arn" {
  description = "ARN of the store's bucket."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]+$", var.bucket_arn))
    error_message = "bucket_arn: the ARN of a bucket."
  }
}

variable "store_url" {
  description = "The store's URL, for FTM_STORE."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+(/.*[^/])?$", var.store_url))
    error_message = "store_url: s3://bucket or s3://bucket/prefix, without a slash at the end."
  }
}

variable "kms_key_arn" {
  description = "KMS key of the bucket; null without one."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn: the ARN of a key (not of an alias)."
  }
}

# Where it runs

variable "subnet_ids" {
  description = "Subnets of the instances."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "subnet_ids: at least one."
  }
}

variable "security_group_ids" {
  description = "Security groups of the instances."
  type        = list(string)

  validation {
    condition     = length(var.security_group_ids) > 0
    error_message = "security_group_ids: at least one."
  }
}

variable "log_group" {
  description = "Log group of the jobs: its name and ARN."
  type        = object({ name = string, arn = string })

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:logs:.+:log-group:[^*]+$", var.log_group.arn))
    error_message = "log_group.arn: the ARN of a log group, without :* at its end."
  }
}

variable "instance_tags" {
  description = "Tags of instances and disks. Batch starts these, so the provider's default_tags do not reach them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.instance_tags) : !startswith(lower(key), "aws:")])
    error_message = "instance_tags: keys that begin with aws: are AWS's own."
  }
}

variable "enable_gpu" {
  description = "Make the queue and the job definition with GPUs."
  type        = bool
  default     = true
}

variable "cpu" {
  description = <<-EOT
    Instances of the CPU queue. Keep to types with one and the same processor: a firm's topics are
    the same bit for bit on one CPU model only, and a worker warns where the run began on another.
  EOT
  type = object({
    instance_types      = optional(list(string), ["c7i.xlarge", "c7i.2xlarge", "c7i.4xlarge", "m7i.xlarge", "m7i.2xlarge", "m7i.4xlarge"])
    spot_max_vcpus      = optional(number, 128)
    on_demand_max_vcpus = optional(number, 32)
  })
  default = {}

  validation {
    condition     = length(var.cpu.instance_types) > 0 && alltrue([for type in var.cpu.instance_types : can(regex("^[a-z][a-z0-9-]*[.][a-z0-9-]+$", type))])
    error_message = "cpu.instance_types: names such as c7i.xlarge."
  }

  validation {
    condition     = min(var.cpu.spot_max_vcpus, var.cpu.on_demand_max_vcpus) >= max(var.cpu_job.vcpus, var.stage_job.vcpus)
    error_message = "cpu: spot_max_vcpus and on_demand_max_vcpus leave room for one job (cpu_job.vcpus, stage_job.vcpus)."
  }
}

variable "gpu" {
  description = "Instances of the GPU queue; all types with one and the same GPU, for the reason given at cpu."
  type = object({
    instance_types      = optional(list(string), ["g5.xlarge", "g5.2xlarge"])
    spot_max_vcpus      = optional(number, 32)
    on_demand_max_vcpus = optional(number, 8)
  })
  default = {}

  validation {
    condition     = length(var.gpu.instance_types) > 0 && alltrue([for type in var.gpu.instance_types : can(regex("^(g|p)[0-9][a-z0-9-]*[.][a-z0-9-]+$", type))])
    error_message = "gpu.instance_types: types with NVIDIA GPUs, such as g5.xlarge."
  }

  validation {
    condition     = var.gpu.spot_max_vcpus >= var.gpu_job.vcpus && var.gpu.on_demand_max_vcpus >= var.gpu_job.vcpus
    error_message = "gpu: spot_max_vcpus and on_demand_max_vcpus leave room for one job (gpu_job.vcpus)."
  }
}

variable "disk_gib" {
  description = "Size of an instance's disk in GiB; images and what jobs write share it."
  type        = number
  default     = 60

  validation {
    condition     = var.disk_gib >= 30 && var.disk_gib <= 16384 && floor(var.disk_gib) == var.disk_gib
    error_message = "disk_gib: 30 (the size of Amazon's image) to 16384."
  }
}

variable "misconfigured_limit_s" {
  description = "Seconds after which a job that no instance type or vCPU limit can satisfy is cancelled."
  type        = number
  default     = 1800

  validation {
    condition     = var.misconfigured_limit_s >= 600 && var.misconfigured_limit_s <= 86400
    error_message = "misconfigured_limit_s: 600 to 86400."
  }
}

variable "no_capacity_limit_s" {
  description = "Seconds after which a job for which AWS has no instance, Spot or on-demand, is cancelled."
  type        = number
  default     = 43200

  validation {
    condition     = var.no_capacity_limit_s >= 600 && var.no_capacity_limit_s <= 86400
    error_message = "no_capacity_limit_s: 600 to 86400."
  }
}

# What it runs

variable "image" {
  description = "Map image, pinned by digest. null makes all but the job definitions: for the first apply, before there is an image to push."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("^[^@[:space:]]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image: name@sha256:digest. A tag may move, and then a run mixes two versions."
  }
}

variable "gpu_image" {
  description = "Map image with CUDA, name@sha256:digest; null makes no GPU job definition: an image for CPUs does not run there."
  type        = string
  default     = null

  validation {
    condition     = var.gpu_image == null || can(regex("^[^@[:space:]]+@sha256:[0-9a-f]{64}$", var.gpu_image))
    error_message = "gpu_image: name@sha256:digest. A tag may move, and then a run mixes two versions."
  }
}

variable "embedding_model" {
  description = "EMBEDDING_MODEL_NAME of the jobs: the model packaged in the image, or the path of one that was baked in."
  type        = string
  default     = "all-MiniLM-L6-v2"

  validation {
    condition     = can(regex("^[^[:space:]]+$", var.embedding_model))
    error_message = "embedding_model: a name or folder without blanks."
  }
}

variable "cpu_job" {
  description = "What a map job on the CPU queue gets."
  type = object({
    vcpus      = optional(number, 4)
    memory_mib = optional(number, 7000)
  })
  default = {}

  validation {
    condition     = var.cpu_job.vcpus >= 1 && floor(var.cpu_job.vcpus) == var.cpu_job.vcpus && var.cpu_job.memory_mib >= 2048
    error_message = "cpu_job: whole vcpus, at least 1, and memory_mib of at least 2048."
  }
}

variable "gpu_job" {
  description = "What a map job on the GPU queue gets. Less memory than the instance has: its agent needs some."
  type = object({
    vcpus      = optional(number, 4)
    memory_mib = optional(number, 14000)
    gpus       = optional(number, 1)
  })
  default = {}

  validation {
    condition     = var.gpu_job.vcpus >= 1 && floor(var.gpu_job.vcpus) == var.gpu_job.vcpus && var.gpu_job.memory_mib >= 2048 && var.gpu_job.gpus >= 1 && floor(var.gpu_job.gpus) == var.gpu_job.gpus
    error_message = "gpu_job: whole vcpus and gpus, at least 1, and memory_mib of at least 2048."
  }
}

variable "stage_job" {
  description = "What a job of a stage after map gets, on the CPU queue: reduce and package have the topics of the whole quarter in memory."
  type = object({
    vcpus      = optional(number, 4)
    memory_mib = optional(number, 14000)
  })
  default = {}

  validation {
    condition     = var.stage_job.vcpus >= 1 && floor(var.stage_job.vcpus) == var.stage_job.vcpus && var.stage_job.memory_mib >= 2048
    error_message = "stage_job: whole vcpus, at least 1, and memory_mib of at least 2048."
  }
}

variable "job_timeout_s" {
  description = "Seconds after which an attempt of a job is ended."
  type        = number
  default     = 21600

  validation {
    condition     = var.job_timeout_s >= 60 && floor(var.job_timeout_s) == var.job_timeout_s
    error_message = "job_timeout_s: whole seconds, at least 60."
  }
}

variable "job_attempts" {
  description = "How often a job is started at most; only a lost host is worth another attempt."
  type        = number
  default     = 5

  validation {
    condition     = var.job_attempts >= 1 && var.job_attempts <= 10 && floor(var.job_attempts) == var.job_attempts
    error_message = "job_attempts: 1 to 10."
  }
}

variable "llm" {
  description = "For the stage that names topics, if FTM_NAMING is llm: secret (Secrets Manager ARN) with the API key, server and model."
  type = object({
    api_key_secret_arn = optional(string)
    base_url           = optional(string)
    model_name         = optional(string, "Qwen/Qwen3-8B")
    allow_external     = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.llm.api_key_secret_arn == null || can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:]+$", var.llm.api_key_secret_arn))
    error_message = "llm.api_key_secret_arn: the ARN of a Secrets Manager secret, without a JSON key at its end."
  }

  validation {
    condition     = var.llm.api_key_secret_arn == null || var.llm.base_url != null
    error_message = "llm: api_key_secret_arn is the key of a server, base_url; give that, too."
  }

  validation {
    condition     = var.llm.base_url == null || can(regex("^https?://[^[:space:]]+$", var.llm.base_url))
    error_message = "llm.base_url: http:// or https://."
  }
}

# Roles made beforehand, for accounts that may not make any

variable "job_role_arn" {
  description = "Role of the jobs, made beforehand; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.job_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.job_role_arn))
    error_message = "job_role_arn: the ARN of a role."
  }
}

variable "execution_role_arn" {
  description = "Role with which ECS pulls the image and writes logs, made beforehand; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.execution_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.execution_role_arn))
    error_message = "execution_role_arn: the ARN of a role."
  }
}

variable "instance_profile_arn" {
  description = "Instance profile of the instances, made beforehand; null makes one and its role."
  type        = string
  default     = null

  validation {
    condition     = var.instance_profile_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:instance-profile/.+$", var.instance_profile_arn))
    error_message = "instance_profile_arn: the ARN of an instance profile (not of its role)."
  }
}

variable "service_role_arn" {
  description = "Role of AWS Batch itself, made beforehand; null takes the service-linked role, which Batch makes on first use."
  type        = string
  default     = null

  validation {
    condition     = var.service_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.service_role_arn))
    error_message = "service_role_arn: the ARN of a role."
  }
}

variable "create_operator_policy" {
  description = "Make the policy for whoever submits runs; false where policies may not be made."
  type        = bool
  default     = true
}
