# What is passed on is validated where it is used, in the modules.

variable "aws_region" {
  description = "Region; null takes the one of AWS_REGION or of the profile."
  type        = string
  default     = null

  validation {
    condition     = var.aws_region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region: a region such as eu-central-1."
  }
}

variable "project" {
  description = "Tag project of everything, and the beginning of all names."
  type        = string
  default     = "ftm"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", var.project))
    error_message = "project: 2 to 16 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "environment" {
  description = "Tag environment of everything, and the second part of all names."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,10}[a-z0-9]$", var.environment))
    error_message = "environment: 2 to 12 lower-case letters, digits and hyphens."
  }
}

# Storage

variable "bucket_name" {
  description = "Name of the bucket; null takes project-environment-accountid."
  type        = string
  default     = null
}

variable "store_prefix" {
  description = "Folder of the store in the bucket; empty is the bucket's root."
  type        = string
  default     = ""
}

variable "kms_key_arn" {
  description = "KMS key for bucket and repository; null takes AWS's own keys (AES256)."
  type        = string
  default     = null
}

variable "intermediate_expiry_days" {
  description = "Days after which objects under intermediate/, the topics of every run, expire; 0 keeps them."
  type        = number
  default     = 0
}

variable "noncurrent_expiry_days" {
  description = "Days for which an overwritten or deleted object can be brought back."
  type        = number
  default     = 30
}

variable "force_destroy" {
  description = "Let destroy delete a bucket and a repository that are not empty."
  type        = bool
  default     = false
}

variable "create_repository" {
  description = "Make an ECR repository; false where images come from elsewhere."
  type        = bool
  default     = true
}

# Network

variable "subnet_ids" {
  description = "Existing subnets to use; empty makes a VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Existing security groups to use with subnet_ids."
  type        = list(string)
  default     = []
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made."
  type        = string
  default     = "10.42.0.0/16"
}

variable "egress_ports" {
  description = "TCP ports instances may reach, 443 among them."
  type        = list(number)
  default     = [443]
}

# Batch

variable "image" {
  description = "Map image, name@sha256:digest; null for the first apply, before there is one: then no job definition is made."
  type        = string
  default     = null
}

variable "gpu_image" {
  description = "Map image with CUDA, name@sha256:digest; null makes no GPU job definition: an image for CPUs does not run there."
  type        = string
  default     = null
}

variable "enable_gpu" {
  description = "Make the queue and the job definition with GPUs."
  type        = bool
  default     = true
}

variable "cpu" {
  description = "Instances of the CPU queue: types (all with one processor model) and most vCPUs at a time, Spot and on-demand."
  type = object({
    instance_types      = optional(list(string))
    spot_max_vcpus      = optional(number)
    on_demand_max_vcpus = optional(number)
  })
  default = {}
}

variable "gpu" {
  description = "Instances of the GPU queue: types (all with one GPU model) and most vCPUs at a time, Spot and on-demand."
  type = object({
    instance_types      = optional(list(string))
    spot_max_vcpus      = optional(number)
    on_demand_max_vcpus = optional(number)
  })
  default = {}
}

variable "cpu_job" {
  description = "vCPUs and MiB of a map job on the CPU queue."
  type        = object({ vcpus = optional(number), memory_mib = optional(number) })
  default     = {}
}

variable "gpu_job" {
  description = "vCPUs, MiB and GPUs of a map job on the GPU queue."
  type        = object({ vcpus = optional(number), memory_mib = optional(number), gpus = optional(number) })
  default     = {}
}

variable "stage_job" {
  description = "vCPUs and MiB of a job of the stages after map."
  type        = object({ vcpus = optional(number), memory_mib = optional(number) })
  default     = {}
}

variable "disk_gib" {
  description = "Size of an instance's disk in GiB."
  type        = number
  default     = 60
}

variable "embedding_model" {
  description = "EMBEDDING_MODEL_NAME of the jobs: the model packaged in the image, or the path of one that was baked in."
  type        = string
  default     = "all-MiniLM-L6-v2"
}

variable "job_timeout_s" {
  description = "Seconds after which an attempt of a job is ended."
  type        = number
  default     = 21600
}

variable "job_attempts" {
  description = "How often a job whose Spot host was lost is started at most."
  type        = number
  default     = 5
}

variable "misconfigured_limit_s" {
  description = "Seconds after which a job that cannot be placed anywhere is cancelled."
  type        = number
  default     = 1800
}

variable "no_capacity_limit_s" {
  description = "Seconds after which a job for which AWS has no instance is cancelled."
  type        = number
  default     = 43200
}

variable "llm" {
  description = "For stage name, if FTM_NAMING is llm: api_key_secret_arn (Secrets Manager), base_url, model_name, allow_external."
  type = object({
    api_key_secret_arn = optional(string)
    base_url           = optional(string)
    model_name         = optional(string)
    allow_external     = optional(bool)
  })
  default = {}
}

# Roles made beforehand

variable "job_role_arn" {
  description = "Role of the jobs, made beforehand; null makes one."
  type        = string
  default     = null
}

variable "execution_role_arn" {
  description = "Role with which ECS pulls the image and writes logs, made beforehand; null makes one."
  type        = string
  default     = null
}

variable "instance_profile_arn" {
  description = "Instance profile, made beforehand; null makes one and its role."
  type        = string
  default     = null
}

variable "service_role_arn" {
  description = "Role of AWS Batch, made beforehand; null takes the service-linked role."
  type        = string
  default     = null
}

variable "create_operator_policy" {
  description = "Make the policy for whoever submits runs."
  type        = bool
  default     = true
}

# Monitoring

variable "log_retention_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 90
}

variable "alarm_email" {
  description = "Who gets alarms by mail; null for nobody."
  type        = string
  default     = null
}

variable "failed_jobs_per_hour" {
  description = "Failed jobs in an hour that raise the alarm."
  type        = number
  default     = 10
}

variable "monthly_budget_usd" {
  description = "Monthly budget in US dollars; 0 makes none."
  type        = number
  default     = 0
}
