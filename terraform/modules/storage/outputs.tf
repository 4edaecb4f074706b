output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.store.id
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.store.arn
}

output "store_url" {
  description = "The store's URL, for FTM_STORE."
  value       = var.store_prefix == "" ? "s3://${aws_s3_bucket.store.id}" : "s3://${aws_s3_bucket.store.id}/${var.store_prefix}"
}

output "repository_url" {
  description = "Where images are pushed; null without a repository."
  value       = one(aws_ecr_repository.images[*].repository_url)
}

output "repository_arn" {
  description = "ARN of the repository; null without one."
  value       = one(aws_ecr_repository.images[*].arn)
}
