variable "name" {
  description = "Begins the names of what is made."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}[a-z0-9]$", var.name))
    error_message = "name: 2 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "queue_arns" {
  description = "Job queues to watch."
  type        = list(string)

  validation {
    condition     = length(var.queue_arns) > 0
    error_message = "queue_arns: at least one; an empty list would watch every queue of the account."
  }
}

variable "log_retention_days" {
  description = "Days for which logs of jobs and records of failed ones are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days: one of CloudWatch's periods: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, ..."
  }
}

variable "alarm_email" {
  description = "Who gets alarms by mail (AWS asks for a confirmation first); null for nobody."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@ ]+@[^@ ]+[.][^@ ]+$", var.alarm_email))
    error_message = "alarm_email: an address such as name@example.org."
  }
}

variable "failed_jobs_per_hour" {
  description = "Failed jobs in an hour, children of array jobs counted singly, that raise the alarm."
  type        = number
  default     = 10

  validation {
    condition     = var.failed_jobs_per_hour >= 1 && floor(var.failed_jobs_per_hour) == var.failed_jobs_per_hour
    error_message = "failed_jobs_per_hour: a whole number, at least 1."
  }
}

variable "monthly_budget_usd" {
  description = "Monthly budget in US dollars for what carries the tag project; 0 makes none."
  type        = number
  default     = 0

  validation {
    condition     = var.monthly_budget_usd >= 0
    error_message = "monthly_budget_usd: an amount, or 0 for no budget."
  }
}

variable "project" {
  description = "Value of the tag project that the budget adds up."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.project))
    error_message = "project: lower-case letters, digits and hyphens, a letter first."
  }
}
