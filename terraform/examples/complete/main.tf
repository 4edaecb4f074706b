provider "aws" {
  region = var.aws_region

  default_tags {
    tags = local.tags
  }
}

data "aws_region" "current" {}

locals {
  name = "${var.project}-${var.environment}"
  tags = { project = var.project, environment = var.environment }
}

module "storage" {
  source = "../../modules/storage"

  name                     = local.name
  bucket_name              = var.bucket_name
  store_prefix             = var.store_prefix
  kms_key_arn              = var.kms_key_arn
  intermediate_expiry_days = var.intermediate_expiry_days
  noncurrent_expiry_days   = var.noncurrent_expiry_days
  force_destroy            = var.force_destroy
  create_repository        = var.create_repository
}

module "network" {
  source = "../../modules/network"

  name               = local.name
  subnet_ids         = var.subnet_ids
  security_group_ids = var.security_group_ids
  vpc_cidr           = var.vpc_cidr
  egress_ports       = var.egress_ports
}

module "batch" {
  source = "../../modules/batch"

  name        = local.name
  bucket_arn  = module.storage.bucket_arn
  store_url   = module.storage.store_url
  kms_key_arn = var.kms_key_arn

  subnet_ids         = module.network.subnet_ids
  security_group_ids = module.network.security_group_ids
  log_group          = { name = module.monitoring.log_group, arn = module.monitoring.log_group_arn }
  instance_tags      = local.tags

  enable_gpu            = var.enable_gpu
  cpu                   = var.cpu
  gpu                   = var.gpu
  disk_gib              = var.disk_gib
  misconfigured_limit_s = var.misconfigured_limit_s
  no_capacity_limit_s   = var.no_capacity_limit_s

  image           = var.image
  gpu_image       = var.gpu_image
  embedding_model = var.embedding_model
  cpu_job         = var.cpu_job
  gpu_job         = var.gpu_job
  stage_job       = var.stage_job
  job_timeout_s   = var.job_timeout_s
  job_attempts    = var.job_attempts
  llm             = var.llm

  job_role_arn           = var.job_role_arn
  execution_role_arn     = var.execution_role_arn
  instance_profile_arn   = var.instance_profile_arn
  service_role_arn       = var.service_role_arn
  create_operator_policy = var.create_operator_policy
}

module "monitoring" {
  source = "../../modules/monitoring"

  name                 = local.name
  project              = var.project
  queue_arns           = values(module.batch.queue_arns)
  log_retention_days   = var.log_retention_days
  alarm_email          = var.alarm_email
  failed_jobs_per_hour = var.failed_jobs_per_hour
  monthly_budget_usd   = var.monthly_budget_usd
}
