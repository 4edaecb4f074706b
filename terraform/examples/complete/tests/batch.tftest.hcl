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
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/made" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/made" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/made" }
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
  name               = "ftm-test"
  bucket_arn         = "arn:aws:s3:::some-bucket"
  store_url          = "s3://some-bucket"
  subnet_ids         = ["subnet-0123456789abcdef0"]
  security_group_ids = ["sg-0123456789abcdef0"]
  log_group          = { name = "/aws/batch/ftm-test", arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/batch/ftm-test" }
  image              = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  gpu_image          = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm@sha256:89abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567"
}

run "no_gpu_image_no_gpu_job" {
  module {
    source = "../../modules/batch"
  }

  variables {
    gpu_image = null
  }

  # An image for CPUs would wait for a GPU, be paid for one, and fail there.
  assert {
    condition     = keys(aws_batch_job_definition.map) == ["cpu"]
    error_message = "a GPU job definition without an image for GPUs"
  }
}

run "what_is_made_unless_told_otherwise" {
  module {
    source = "../../modules/batch"
  }

  assert {
    condition     = alltrue([for definition in aws_batch_job_definition.map : !definition.deregister_on_new_revision])
    error_message = "the revision of a run that is not finished is taken away"
  }
  assert {
    condition = { for key, environment in aws_batch_compute_environment.this : key => environment.compute_resources[0].type } == {
      "cpu-on-demand" = "EC2", "cpu-spot" = "SPOT", "gpu-on-demand" = "EC2", "gpu-spot" = "SPOT",
    }
    error_message = "not Spot and on-demand for both"
  }
  assert {
    condition     = alltrue([for environment in aws_batch_compute_environment.this : environment.compute_resources[0].min_vcpus == 0])
    error_message = "instances run while there is no job"
  }
  # BEST_FIT on Spot would need a Spot fleet role, and forbids changes in place.
  assert {
    condition     = alltrue([for environment in aws_batch_compute_environment.this : environment.compute_resources[0].allocation_strategy != "BEST_FIT"])
    error_message = "BEST_FIT"
  }
  assert {
    condition     = aws_batch_compute_environment.this["gpu-spot"].compute_resources[0].ec2_configuration[0].image_type == "ECS_AL2023_NVIDIA"
    error_message = "GPU instances without drivers"
  }
  assert {
    condition     = alltrue([for queue in aws_batch_job_queue.this : queue.compute_environment_order[*].order == tolist([1, 2])])
    error_message = "no fallback"
  }
  assert {
    condition     = alltrue([for queue in aws_batch_job_queue.this : length(queue.job_state_time_limit_action) == 3])
    error_message = "a job may block the queue for ever"
  }
  assert {
    condition     = aws_launch_template.instances.block_device_mappings[0].ebs[0].encrypted == "true" && aws_launch_template.instances.metadata_options[0].http_tokens == "required"
    error_message = "not encrypted, or IMDSv1"
  }
  assert {
    condition = alltrue([
      for definition in aws_batch_job_definition.map :
      definition.retry_strategy[0].attempts == 5
      && definition.retry_strategy[0].evaluate_on_exit[0].on_status_reason == "Host EC2*"
      && definition.retry_strategy[0].evaluate_on_exit[0].action == "RETRY"
      && definition.retry_strategy[0].evaluate_on_exit[1].on_reason == "*"
      && definition.retry_strategy[0].evaluate_on_exit[1].action == "EXIT"
    ])
    error_message = "retries"
  }
  assert {
    condition     = length(aws_batch_job_definition.stages) == 1 && jsondecode(aws_batch_job_definition.stages[0].container_properties).secrets == [] && !strcontains(aws_iam_role_policy.execution["stages"].policy, "secretsmanager")
    error_message = "no job definition of the stages, or with a secret that was not given"
  }
}

run "secret_image_and_size_reach_their_own_job" {
  module {
    source = "../../modules/batch"
  }

  variables {
    llm = {
      api_key_secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key-AbCdEf"
      base_url           = "https://llm.example.org/v1"
    }
    gpu_image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm-gpu@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
    cpu_job   = { vcpus = 8, memory_mib = null }
    stage_job = { memory_mib = 30000 }
  }

  assert {
    condition = toset(jsondecode(aws_batch_job_definition.stages[0].container_properties).resourceRequirements) == toset([
      { type = "VCPU", value = "4" }, { type = "MEMORY", value = "30000" },
    ])
    error_message = "the size of the stages' jobs"
  }
  assert {
    condition     = jsondecode(aws_batch_job_definition.stages[0].container_properties).image == var.image
    error_message = "not the image for CPUs"
  }

  assert {
    condition     = alltrue([for definition in aws_batch_job_definition.map : !strcontains(definition.container_properties, "secret")])
    error_message = "a map job gets a secret"
  }
  assert {
    condition     = jsondecode(aws_batch_job_definition.stages[0].container_properties).secrets == [{ name = "LLM_API_KEY", valueFrom = var.llm.api_key_secret_arn }]
    error_message = "the stages do not get the key"
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.execution["map"].policy, "secretsmanager") && strcontains(aws_iam_role_policy.execution["stages"].policy, "secretsmanager")
    error_message = "the wrong role may read the secret"
  }
  assert {
    condition     = jsondecode(aws_batch_job_definition.map["gpu"].container_properties).image == var.gpu_image && jsondecode(aws_batch_job_definition.map["cpu"].container_properties).image == var.image
    error_message = "the wrong image"
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.execution["map"].policy, "repository/ftm-gpu\"")
    error_message = "the image cannot be pulled"
  }
  assert {
    condition = toset(jsondecode(aws_batch_job_definition.map["cpu"].container_properties).resourceRequirements) == toset([
      { type = "VCPU", value = "8" }, { type = "MEMORY", value = "7000" },
    ])
    error_message = "resources"
  }
}

run "given_roles_make_none" {
  module {
    source = "../../modules/batch"
  }

  variables {
    job_role_arn           = "arn:aws:iam::123456789012:role/given-job"
    execution_role_arn     = "arn:aws:iam::123456789012:role/given-execution"
    instance_profile_arn   = "arn:aws:iam::123456789012:instance-profile/given"
    service_role_arn       = "arn:aws:iam::123456789012:role/given-batch"
    create_operator_policy = false
  }

  assert {
    condition = 0 == sum([
      length(aws_iam_role.instance), length(aws_iam_role.execution), length(aws_iam_role.job), length(aws_iam_instance_profile.instance),
      length(aws_iam_role_policy.execution), length(aws_iam_role_policy.job), length(aws_iam_role_policy_attachment.instance), length(aws_iam_policy.operator),
    ])
    error_message = "something of IAM was made"
  }
  assert {
    condition = alltrue([
      for environment in aws_batch_compute_environment.this :
      environment.service_role == var.service_role_arn && environment.compute_resources[0].instance_role == var.instance_profile_arn
    ])
    error_message = "the given roles are not used"
  }
  assert {
    condition = alltrue([
      for definition in aws_batch_job_definition.map :
      jsondecode(definition.container_properties).jobRoleArn == var.job_role_arn && jsondecode(definition.container_properties).executionRoleArn == var.execution_role_arn
    ])
    error_message = "the given roles are not used"
  }
}

run "one_given_role_spares_only_itself" {
  module {
    source = "../../modules/batch"
  }

  variables {
    instance_profile_arn = "arn:aws:iam::123456789012:instance-profile/given"
  }

  assert {
    condition     = length(aws_iam_role.instance) == 0 && length(aws_iam_role.execution) == 2 && length(aws_iam_role.job) == 2
    error_message = "roles"
  }
}

run "wrong_values_are_refused" {
  command = plan

  module {
    source = "../../modules/batch"
  }

  variables {
    subnet_ids            = []
    security_group_ids    = []
    store_url             = "s3://some-bucket/"
    cpu_job               = { vcpus = 0.5 }
    gpu_job               = { gpus = 0 }
    disk_gib              = 8
    misconfigured_limit_s = 60
    no_capacity_limit_s   = 100000
    stage_job             = { memory_mib = 1024 }
    job_timeout_s         = 10
    job_attempts          = 11
    embedding_model       = ""
    llm                   = { api_key_secret_arn = "sk-a-key-itself" }
    job_role_arn          = "job"
    execution_role_arn    = "execution"
    instance_profile_arn  = "arn:aws:iam::123456789012:role/a-role"
    service_role_arn      = "batch"
    instance_tags         = { "aws:own" = "x" }
    image                 = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm:latest"
    gpu_image             = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ftm@sha256:0123"
  }

  expect_failures = [
    var.subnet_ids, var.security_group_ids, var.store_url, var.cpu_job, var.gpu_job, var.stage_job, var.disk_gib,
    var.misconfigured_limit_s, var.no_capacity_limit_s, var.job_timeout_s, var.job_attempts, var.embedding_model, var.llm,
    var.job_role_arn, var.execution_role_arn, var.instance_profile_arn, var.service_role_arn, var.instance_tags, var.image, var.gpu_image,
  ]
}

run "wrong_instance_types_are_refused" {
  command = plan

  module {
    source = "../../modules/batch"
  }

  variables {
    cpu = { instance_types = ["large"] }
    gpu = { instance_types = ["c7i.xlarge"] }
  }

  expect_failures = [var.cpu, var.gpu]
}

run "a_queue_has_room_for_a_job" {
  command = plan

  module {
    source = "../../modules/batch"
  }

  variables {
    cpu_job = { vcpus = 64 }
    gpu_job = { vcpus = 64 }
  }

  expect_failures = [var.cpu, var.gpu]
}
