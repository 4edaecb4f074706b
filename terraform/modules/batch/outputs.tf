output "queue_arns" {
  description = "Job queues: cpu, and gpu where there is one."
  value       = { for kind, queue in aws_batch_job_queue.this : kind => queue.arn }
}

output "map_job_definition_arns" {
  description = "Map job definitions with revision: cpu, and gpu where there is one; empty without an image."
  value       = { for kind, definition in aws_batch_job_definition.map : kind => definition.arn }
}

output "name_job_definition_arn" {
  description = "Job definition of the naming job; null without a secret."
  value       = one(aws_batch_job_definition.name[*].arn)
}

output "map_role_arn" {
  description = "Role of the map jobs."
  value       = local.map_role_arn
}

output "operator_policy_arn" {
  description = "Policy for whoever submits runs; null where none is made."
  value       = one(aws_iam_policy.operator[*].arn)
}
