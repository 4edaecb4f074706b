variable "name" {
  description = "Begins the names of the bucket (unless bucket_name is set) and of the repository."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}[a-z0-9]$", var.name))
    error_message = "name: 2 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "bucket_name" {
  description = "Name of the bucket; null takes name-accountid."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name: 3 to 63 lower-case letters, digits and hyphens; no dots, they break TLS."
  }
}

variable "store_prefix" {
  description = "Folder of the store in the bucket, without slashes at its ends; empty is the bucket's root."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([A-Za-z0-9_=-][A-Za-z0-9._=-]*(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*)?$", var.store_prefix))
    error_message = "store_prefix: empty, or folders such as team/ftm, without a slash at either end."
  }
}

variable "kms_key_arn" {
  description = "KMS key that encrypts the bucket; null takes S3's own keys (AES256)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn: the ARN of a key (not of an alias)."
  }
}

variable "intermediate_expiry_days" {
  description = "Days after which objects under intermediate/, the topics of every run, expire; 0 keeps them."
  type        = number
  default     = 0

  validation {
    condition     = var.intermediate_expiry_days >= 0 && floor(var.intermediate_expiry_days) == var.intermediate_expiry_days
    error_message = "intermediate_expiry_days: whole days, or 0 for never."
  }
}

variable "noncurrent_expiry_days" {
  description = "Days for which an overwritten or deleted object can be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_expiry_days >= 1 && floor(var.noncurrent_expiry_days) == var.noncurrent_expiry_days
    error_message = "noncurrent_expiry_days: whole days, at least 1."
  }
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
