# `ftm config from-terraform` reads these names.

output "bucket" {
  description = "Name of the bucket."
  value       = module.storage.bucket
}

output "store_url" {
  description = "The store's URL, for FTM_STORE."
  value       = module.storage.store_url
}

output "aws_region" {
  description = "Region of everything."
  value       = data.aws_region.current.name
}

output "cpu_queue" {
  description = "ARN of the CPU queue."
  value       = module.batch.queue_arns.cpu
}

output "cpu_job_definition" {
  description = "ARN, with revision, of the map job on CPUs; null without an image."
  value       = lookup(module.batch.map_job_definition_arns, "cpu", null)
}

output "gpu_queue" {
  description = "ARN of the GPU queue; null without GPUs."
  value       = lookup(module.batch.queue_arns, "gpu", null)
}

output "gpu_job_definition" {
  description = "ARN, with revision, of the map job on GPUs; null without GPUs or an image."
  value       = lookup(module.batch.map_job_definition_arns, "gpu", null)
}

output "stage_job_definition" {
  description = "ARN, with revision, of the jobs of the stages after map; null without an image."
  value       = module.batch.stage_job_definition_arn
}

output "log_group" {
  description = "Name of the log group of the jobs."
  value       = module.monitoring.log_group
}

output "ecr_repository_url" {
  description = "Where images are pushed; null where they come from elsewhere."
  value       = module.storage.repository_url
}

output "map_role_arn" {
  description = "Role of the map jobs."
  value       = module.batch.map_role_arn
}

output "stage_role_arn" {
  description = "Role of the jobs of the stages after map."
  value       = module.batch.stage_role_arn
}

output "operator_policy_arn" {
  description = "Policy for whoever submits runs; null where none is made."
  value       = module.batch.operator_policy_arn
}

output "alarm_topic_arn" {
  description = "SNS topic of all alarms."
  value       = module.monitoring.alarm_topic_arn
}
