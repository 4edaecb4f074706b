data "aws_caller_identity" "current" {}

locals {
  state_change = {
    source        = ["aws.batch"]
    "detail-type" = ["Batch Job State Change"]
  }
}

resource "aws_cloudwatch_log_group" "jobs" {
  name              = "/aws/batch/${var.name}"
  retention_in_days = var.log_retention_days
}

# Not encrypted with the key AWS manages for SNS: EventBridge may not use that one. Messages hold
# names and states of jobs, never text of a call.
resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
      {
        # EventBridge tells SNS neither rule nor account: under a condition it drops every message.
        Sid       = "Events"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  count = var.alarm_email == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# One message a stage. Ten thousand children may fail for one reason, so they are left to the
# metric alarm below.
resource "aws_cloudwatch_event_rule" "stage_failed" {
  name        = "${var.name}-stage-failed"
  description = "A job, or an array job as a whole, failed"

  event_pattern = jsonencode(merge(local.state_change, {
    detail = {
      status          = ["FAILED"]
      jobQueue        = var.queue_arns
      arrayProperties = { index = [{ exists = false }] }
    }
  }))
}

resource "aws_cloudwatch_event_target" "stage_failed" {
  rule = aws_cloudwatch_event_rule.stage_failed.name
  arn  = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      job    = "$.detail.jobName"
      id     = "$.detail.jobId"
      reason = "$.detail.statusReason"
    }
    input_template = "\"ftm: job <job> (<id>) failed: <reason>\""
  }
}

# Batch places the first job of a queue first; one that can never be placed stops all others.
resource "aws_cloudwatch_event_rule" "queue_blocked" {
  name        = "${var.name}-queue-blocked"
  description = "A job stays RUNNABLE and stops the queue"

  event_pattern = jsonencode({
    source        = ["aws.batch"]
    "detail-type" = ["Batch Job Queue Blocked"]
    detail        = { jobQueue = var.queue_arns }
  })
}

resource "aws_cloudwatch_event_target" "queue_blocked" {
  rule = aws_cloudwatch_event_rule.queue_blocked.name
  arn  = aws_sns_topic.alarms.arn

  input_transformer {
    input_paths = {
      job    = "$.detail.jobName"
      queue  = "$.detail.jobQueue"
      reason = "$.detail.statusReason"
    }
    input_template = "\"ftm: job <job> blocks the queue <queue>: <reason>\""
  }
}

# Batch forgets jobs after a week; here every failed one stays on record, with reason and exit code.
resource "aws_cloudwatch_log_group" "failed_jobs" {
  name              = "/aws/events/${var.name}-failed-jobs"
  retention_in_days = var.log_retention_days
}

resource "aws_cloudwatch_event_rule" "job_failed" {
  name        = "${var.name}-job-failed"
  description = "A job failed, children of array jobs included"

  event_pattern = jsonencode(merge(local.state_change, {
    detail = {
      status   = ["FAILED"]
      jobQueue = var.queue_arns
    }
  }))
}

resource "aws_cloudwatch_event_target" "job_failed" {
  rule = aws_cloudwatch_event_rule.job_failed.name
  arn  = aws_cloudwatch_log_group.failed_jobs.arn

  # Events that come before the right to write them are lost.
  depends_on = [aws_cloudwatch_log_resource_policy.failed_jobs]
}

resource "aws_cloudwatch_log_resource_policy" "failed_jobs" {
  policy_name = "${var.name}-failed-jobs"

  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EventsToLogs"
      Effect    = "Allow"
      Principal = { Service = ["delivery.logs.amazonaws.com", "events.amazonaws.com"] }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.failed_jobs.arn}:*"
    }]
  })
}

resource "aws_cloudwatch_metric_alarm" "many_failed" {
  alarm_name        = "${var.name}-many-jobs-failed"
  alarm_description = "${var.failed_jobs_per_hour} or more jobs failed within an hour: see ${aws_cloudwatch_log_group.failed_jobs.name}"

  namespace           = "AWS/Logs"
  metric_name         = "IncomingLogEvents"
  dimensions          = { LogGroupName = aws_cloudwatch_log_group.failed_jobs.name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.failed_jobs_per_hour
  treat_missing_data  = "notBreaching"

  alarm_actions = [aws_sns_topic.alarms.arn]
}

# Sees only what carries the tag, once `project` is activated as a cost allocation tag.
resource "aws_budgets_budget" "monthly" {
  count = var.monthly_budget_usd > 0 ? 1 : 0

  name         = "${var.name}-monthly"
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:project$%s", var.project)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }
}
