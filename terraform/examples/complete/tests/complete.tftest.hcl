# The root, against a provider that answers from the schema: no account, no network.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::a-bucket" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/made" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/made" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/made" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:made" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:made" }
  }
  mock_resource "aws_batch_compute_environment" {
    defaults = { arn = "arn:aws:batch:eu-central-1:123456789012:compute-environment/made" }
  }
  mock_resource "aws_batch_job_queue" {
    defaults = { arn = "arn:aws:batch:eu-central-1:123456789012:job-queue/made" }
  }
  mock_resource "aws_batch_job_definition" {
    defaults = { arn = "arn:aws:batch:eu-central-1:123456789012:job-definition/made:1" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

variables {
  image     = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm-main@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  gpu_image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm-main@sha256:89abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567"
}

run "everything_has_an_output" {
  assert {
    condition = alltrue([for value in [
      output.bucket, output.store_url, output.aws_region, output.cpu_queue, output.cpu_job_definition,
      output.gpu_queue, output.gpu_job_definition, output.log_group, output.ecr_repository_url,
      output.map_role_arn, output.operator_policy_arn, output.alarm_topic_arn,
    ] : value != null && value != ""])
    error_message = "an output is empty"
  }
}

run "prefix_is_in_the_url_and_external_image_needs_no_repository" {
  variables {
    bucket_name       = "some-bucket"
    store_prefix      = "team/store"
    create_repository = false
    image             = "registry.example.org/ftm@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }

  assert {
    condition     = endswith(output.store_url, "/team/store")
    error_message = "store_url: ${output.store_url}"
  }
  assert {
    condition     = output.ecr_repository_url == null && output.cpu_job_definition != null
    error_message = "a repository was made"
  }
}

run "without_an_image_no_job_definitions" {
  variables {
    image     = null
    gpu_image = null
  }

  assert {
    condition     = output.cpu_job_definition == null && output.gpu_job_definition == null && output.cpu_queue != null
    error_message = "the first apply, before there is an image, makes all but the job definitions"
  }
}

run "without_gpus_no_gpu_queue" {
  variables {
    enable_gpu = false
  }

  assert {
    condition     = output.gpu_queue == null && output.gpu_job_definition == null && output.cpu_job_definition != null
    error_message = "there is a GPU queue or job definition"
  }
}

run "given_roles_are_passed_on" {
  variables {
    job_role_arn           = "arn:aws:iam::123456789012:role/given-job"
    execution_role_arn     = "arn:aws:iam::123456789012:role/given-execution"
    instance_profile_arn   = "arn:aws:iam::123456789012:instance-profile/given"
    service_role_arn       = "arn:aws:iam::123456789012:role/given-batch"
    create_operator_policy = false
  }

  assert {
    condition     = output.map_role_arn == "arn:aws:iam::123456789012:role/given-job" && output.operator_policy_arn == null
    error_message = "the given role is not used"
  }
}

run "wrong_names_are_refused" {
  command = plan

  variables {
    project     = "Ftm"
    environment = "-"
    aws_region  = "Frankfurt"
  }

  expect_failures = [var.project, var.environment, var.aws_region]
}
