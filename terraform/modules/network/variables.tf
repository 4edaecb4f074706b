variable "name" {
  description = "Begins the names of what is made."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}[a-z0-9]$", var.name))
    error_message = "name: 2 to 30 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "subnet_ids" {
  description = "Existing subnets to use; empty makes a VPC. Private ones need a way to ECR, ECS, CloudWatch Logs and S3."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "subnet_ids: ids such as subnet-0123456789abcdef0."
  }
}

variable "security_group_ids" {
  description = "Existing security groups to use with subnet_ids."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-f]+$", id))])
    error_message = "security_group_ids: ids such as sg-0123456789abcdef0."
  }

  validation {
    condition     = (length(var.subnet_ids) == 0) == (length(var.security_group_ids) == 0)
    error_message = "subnet_ids and security_group_ids are given together, or neither is."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made, /16 to /24."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr: an IPv4 block such as 10.42.0.0/16, /16 to /24."
  }
}

variable "egress_ports" {
  description = "TCP ports instances may reach. 443 carries ECS, ECR, S3 and CloudWatch; a self-hosted LLM may need its own."
  type        = list(number)
  default     = [443]

  validation {
    condition     = contains(var.egress_ports, 443) && alltrue([for port in var.egress_ports : port >= 1 && port <= 65535])
    error_message = "egress_ports: TCP ports, 443 among them, without which no instance joins its cluster."
  }
}
