mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::a-bucket" }
  }
}

variables {
  name = "ftm-test"
}

run "what_is_made_unless_told_otherwise" {
  module {
    source = "../../modules/storage"
  }

  assert {
    condition     = aws_s3_bucket.store.bucket == "ftm-test-123456789012" && !aws_s3_bucket.store.force_destroy
    error_message = "name or force_destroy"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.store.block_public_acls,
      aws_s3_bucket_public_access_block.store.block_public_policy,
      aws_s3_bucket_public_access_block.store.ignore_public_acls,
      aws_s3_bucket_public_access_block.store.restrict_public_buckets,
    ])
    error_message = "some public access is left"
  }
  assert {
    condition     = aws_s3_bucket_versioning.store.versioning_configuration[0].status == "Enabled"
    error_message = "no versions"
  }
  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.store.rule :
      rule.apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    ])
    error_message = "not encrypted"
  }
  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.store.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && statement.Action == "s3:*" && length(statement.Resource) == 2
      && try(statement.Condition.Bool["aws:SecureTransport"] == "false", false)
    ])
    error_message = "plain HTTP is not denied"
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.store.rule) == 1
    error_message = "intermediate/ expires"
  }
  assert {
    condition     = aws_ecr_repository.images[0].image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.images[0].image_scanning_configuration[0].scan_on_push
    error_message = "mutable tags, or no scan"
  }
}

run "expiry_key_and_no_repository_if_asked" {
  module {
    source = "../../modules/storage"
  }

  variables {
    store_prefix             = "team/store"
    intermediate_expiry_days = 90
    kms_key_arn              = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
    create_repository        = false
  }

  assert {
    condition = [
      for rule in aws_s3_bucket_lifecycle_configuration.store.rule : rule.filter[0].prefix if try(rule.expiration[0].days > 0, false)
    ] == ["team/store/intermediate/"]
    error_message = "something else expires, or intermediate/ does not"
  }
  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.store.rule :
      rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
      && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn
    ])
    error_message = "the key is not used"
  }
  assert {
    condition     = length(aws_ecr_repository.images) == 0 && output.repository_url == null
    error_message = "a repository was made"
  }
}

run "wrong_values_are_refused" {
  command = plan

  module {
    source = "../../modules/storage"
  }

  variables {
    name                     = "Ftm"
    bucket_name              = "Some.Bucket"
    store_prefix             = "/team/"
    kms_key_arn              = "alias/key"
    intermediate_expiry_days = -1
    noncurrent_expiry_days   = 0
  }

  expect_failures = [
    var.name, var.bucket_name, var.store_prefix, var.kms_key_arn,
    var.intermediate_expiry_days, var.noncurrent_expiry_days,
  ]
}
