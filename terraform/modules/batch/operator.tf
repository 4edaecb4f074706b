# What the researcher's workstation needs, to be attached to whoever works there.

locals {
  tops = ["prefetch", "runs", "manifests", "progress", "intermediate", "processed", "sentiment-ready", "labels", "series", "assigned", "reports", "cache"]

  definition_names = concat([for kind in keys(local.kinds) : "${var.name}-map-${kind}"], ["${var.name}-stages"])

  batch = "arn:${local.partition}:batch:${local.region}:${local.account}"
}

resource "aws_iam_policy" "operator" {
  count = var.create_operator_policy ? 1 : 0

  name        = "${var.name}-operator"
  description = "Prefetch, submit, watch and collect runs of ftm"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid    = "Submit"
          Effect = "Allow"
          Action = "batch:SubmitJob"
          Resource = flatten([
            values(aws_batch_job_queue.this)[*].arn,
            # Any revision: a run begun under the last one is still resumed.
            [for definition in local.definition_names : ["${local.batch}:job-definition/${definition}", "${local.batch}:job-definition/${definition}:*"]],
          ])
        },
        {
          # Ids of jobs are made on submitting, so they cannot be named here.
          Sid      = "Jobs"
          Effect   = "Allow"
          Action   = ["batch:CancelJob", "batch:TagResource", "batch:TerminateJob"]
          Resource = "${local.batch}:job/*"
        },
        {
          # Batch takes no resource for these.
          Sid    = "Look"
          Effect = "Allow"
          Action = [
            "batch:DescribeComputeEnvironments",
            "batch:DescribeJobDefinitions",
            "batch:DescribeJobQueues",
            "batch:DescribeJobs",
            "batch:ListJobs",
          ]
          Resource = "*"
        },
        {
          Sid      = "Logs"
          Effect   = "Allow"
          Action   = ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"]
          Resource = [var.log_group.arn, "${var.log_group.arn}:*"]
        },
        {
          Sid      = "Bucket"
          Effect   = "Allow"
          Action   = ["s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock", "s3:GetBucketVersioning"]
          Resource = var.bucket_arn
        },
        {
          Sid      = "List"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = var.bucket_arn
          Condition = {
            StringLike = { "s3:prefix" = concat([for top in local.tops : "${local.folder}${top}/*"], ["${local.folder}_probe"]) }
          }
        },
        {
          # Old versions stay out of reach: what is deleted by mistake can be brought back.
          # `_probe` is what ftm writes to ask whether it may write.
          Sid      = "Store"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = concat([for top in local.tops : "${var.bucket_arn}/${local.folder}${top}/*"], ["${var.bucket_arn}/${local.folder}_probe"])
        },
      ],
      [for repositories in [sort(local.repositories)] : {
        Sid      = "Images"
        Effect   = "Allow"
        Action   = ["ecr:DescribeImages", "ecr:DescribeImageScanFindings", "ecr:DescribeRepositories"]
        Resource = repositories
      } if length(repositories) > 0],
      local.kms_statements,
    )
  })
}
