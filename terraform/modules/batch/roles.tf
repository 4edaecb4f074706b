# Four roles, each made only where none is given: instances join their cluster, ECS pulls and logs,
# map jobs read and write the store, the jobs of later stages have a role and a puller of their own.

locals {
  folder = trimprefix("${trimprefix(var.store_url, "s3://")}/", "${element(split(":::", var.bucket_arn), 1)}/")

  instance_profile_arn      = var.instance_profile_arn != null ? var.instance_profile_arn : aws_iam_instance_profile.instance[0].arn
  execution_role_arn        = var.execution_role_arn != null ? var.execution_role_arn : aws_iam_role.execution["map"].arn
  stages_execution_role_arn = var.execution_role_arn != null ? var.execution_role_arn : aws_iam_role.execution["stages"].arn
  map_role_arn              = var.job_role_arn != null ? var.job_role_arn : aws_iam_role.job["map"].arn
  stages_role_arn           = var.job_role_arn != null ? var.job_role_arn : aws_iam_role.job["stages"].arn

  kinds_of_jobs = ["map", "stages"]

  # Whoever may list a prefix is told that an object is missing; all others are told 403.
  # Tables lie in their run's folder: the pointer beside it, `_current.json`, no job may move.
  access = {
    map = {
      read  = ["prefetch", "runs", "manifests", "intermediate", "progress"]
      write = ["intermediate", "progress"]
    }
    stages = {
      read  = ["prefetch", "runs", "manifests", "intermediate", "progress", "labels", "series", "processed", "cache"]
      write = ["intermediate", "progress", "processed/quarter=*/run=*", "cache"]
    }
  }

  # Repositories of this kind need a login, others none.
  repositories = toset([
    for parts in [
      for image in compact([var.image, var.enable_gpu ? var.gpu_image : null]) :
      try(regex("^([0-9]{12})[.]dkr[.]ecr[.]([a-z0-9-]+)[.]amazonaws[.]com[.a-z]*/([^@:]+)", image), null)
    ] : "arn:${local.partition}:ecr:${parts[1]}:${parts[0]}:repository/${parts[2]}" if parts != null
  ])

  kms_statements = [for key in compact([var.kms_key_arn]) : {
    Sid      = "KeyOfTheStore"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = key
  }]

  tasks_trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # Keeps ECS from lending the role to another account's tasks.
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

# Instances

resource "aws_iam_role" "instance" {
  count = var.instance_profile_arn == null ? 1 : 0

  name = "${var.name}-instance"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# AWS's own policy for ECS instances: it follows the agent, whose needs change.
resource "aws_iam_role_policy_attachment" "instance" {
  count = var.instance_profile_arn == null ? 1 : 0

  role       = aws_iam_role.instance[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "instance" {
  count = var.instance_profile_arn == null ? 1 : 0

  name = "${var.name}-instance"
  role = aws_iam_role.instance[0].name
}

# Pulling, logging, and for the later stages alone the secret

resource "aws_iam_role" "execution" {
  for_each = toset(var.execution_role_arn == null ? local.kinds_of_jobs : [])

  name               = "${var.name}-${each.key}-execution"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "execution" {
  for_each = aws_iam_role.execution

  name = "pull-and-log"
  role = each.value.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${var.log_group.arn}:*"
      }],
      [for statement in [
        {
          Sid      = "RegistryLogin"
          Effect   = "Allow"
          Action   = "ecr:GetAuthorizationToken"
          Resource = "*" # the login is to the registry; there is nothing narrower to name
        },
        {
          Sid      = "Image"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = sort(local.repositories)
        },
      ] : statement if length(local.repositories) > 0],
      [for secret in compact([var.llm.api_key_secret_arn]) : {
        Sid      = "KeyOfTheLLM"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = secret
      } if each.key == "stages"],
    )
  })
}

# Jobs: neither may delete anything, nor write what others gave it to read

resource "aws_iam_role" "job" {
  for_each = toset(var.job_role_arn == null ? local.kinds_of_jobs : [])

  name               = "${var.name}-${each.key}-job"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "job" {
  for_each = aws_iam_role.job

  name = "store"
  role = each.value.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "Read"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = [for top in local.access[each.key].read : "${var.bucket_arn}/${local.folder}${top}/*"]
        },
        {
          Sid      = "Write"
          Effect   = "Allow"
          Action   = "s3:PutObject"
          Resource = [for top in local.access[each.key].write : "${var.bucket_arn}/${local.folder}${top}/*"]
        },
        {
          Sid       = "TellMissingFromForbidden"
          Effect    = "Allow"
          Action    = "s3:ListBucket"
          Resource  = var.bucket_arn
          Condition = { StringLike = { "s3:prefix" = [for top in local.access[each.key].read : "${local.folder}${top}/*"] } }
        },
      ],
      local.kms_statements,
    )
  })
}
