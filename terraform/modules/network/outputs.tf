output "subnet_ids" {
  description = "Subnets for the instances."
  value       = local.own ? aws_subnet.public[*].id : var.subnet_ids

  # An instance without a route out never joins its cluster, and its job stays RUNNABLE.
  depends_on = [aws_route.internet, aws_route_table_association.public]
}

output "security_group_ids" {
  description = "Security groups for the instances."
  value       = local.own ? aws_security_group.instances[*].id : var.security_group_ids
}
