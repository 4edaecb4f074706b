output "log_group" {
  description = "Name of the log group of the jobs."
  value       = aws_cloudwatch_log_group.jobs.name
}

output "log_group_arn" {
  description = "ARN of the log group of the jobs."
  value       = aws_cloudwatch_log_group.jobs.arn
}

output "alarm_topic_arn" {
  description = "SNS topic of all alarms."
  value       = aws_sns_topic.alarms.arn
}
