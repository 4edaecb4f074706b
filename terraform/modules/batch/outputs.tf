output "queue_arns" {
  description = "Job queues: cpu, and gpu where there is one."
  value       = { for kind, queue in aws_batch_job_queue.this : kind => queue.arn }
}

output "map_job_definition_arns" {
  description = "Map job definitions with revision: cpu, and gpu where there is one; empty without an image."
  value       = { for kind, definition in aws_batch_job_definition.map : kind => definition.arn }
}

output "stage_job_definition_arn" {
  description = "Job definition, with revision, of the stages after map; null without an image."
  value       = one(aws_batch_job_definition.stages[*].arn)
}

output "stage_role_arn" {
  description = "Role of the jobs of the stages after map."
  value       = local.stages_role_arn
}

output "map_role_arn" {
  description = "Role of the map jobs."
  value       = local.map_role_arn
}

output "operator_policy_arn" {
  description = "Policy for whoever submits runs; null where none is made."
  value       = one(aws_iam_policy.operator[*].arn)
}
