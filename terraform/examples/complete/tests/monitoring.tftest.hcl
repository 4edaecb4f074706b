mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:made" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:made" }
  }
}

variables {
  name       = "ftm-test"
  project    = "ftm"
  queue_arns = ["arn:aws:batch:eu-central-1:123456789012:job-queue/ftm-test-cpu"]
}

run "what_is_made_unless_told_otherwise" {
  module {
    source = "../../modules/monitoring"
  }

  assert {
    condition = alltrue([
      for rule in [aws_cloudwatch_event_rule.stage_failed, aws_cloudwatch_event_rule.queue_blocked, aws_cloudwatch_event_rule.job_failed] :
      jsondecode(rule.event_pattern).detail.jobQueue[0] == var.queue_arns[0]
    ])
    error_message = "a rule watches other queues"
  }
  assert {
    condition     = aws_cloudwatch_event_target.stage_failed.arn == aws_sns_topic.alarms.arn && aws_cloudwatch_event_target.queue_blocked.arn == aws_sns_topic.alarms.arn
    error_message = "an alarm goes nowhere"
  }
  assert {
    condition     = contains(aws_cloudwatch_metric_alarm.many_failed.alarm_actions, aws_sns_topic.alarms.arn)
    error_message = "an alarm goes nowhere"
  }
  assert {
    condition     = aws_cloudwatch_log_group.jobs.retention_in_days == 90 && aws_cloudwatch_log_group.failed_jobs.retention_in_days == 90
    error_message = "logs are kept for ever"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.stage_failed.event_pattern).detail.arrayProperties.index == [{ exists = false }]
    error_message = "ten thousand children send ten thousand mails"
  }
  # EventBridge drops every message to a topic whose policy has a condition for it.
  assert {
    condition = anytrue([
      for statement in jsondecode(aws_sns_topic_policy.alarms.policy).Statement :
      statement.Principal.Service == "events.amazonaws.com" && !can(statement.Condition) if can(tostring(statement.Principal.Service))
    ])
    error_message = "EventBridge may not publish"
  }
  assert {
    condition     = length(aws_sns_topic_subscription.email) == 0 && length(aws_budgets_budget.monthly) == 0
    error_message = "made unasked"
  }
}

run "budget_adds_up_the_project" {
  module {
    source = "../../modules/monitoring"
  }

  variables {
    alarm_email        = "name@example.org"
    monthly_budget_usd = 200
  }

  assert {
    condition     = [for filter in aws_budgets_budget.monthly[0].cost_filter : one(filter.values)] == ["user:project$ftm"]
    error_message = "the budget is of something else"
  }
  assert {
    condition     = aws_sns_topic_subscription.email[0].endpoint == "name@example.org"
    error_message = "nobody is told"
  }
}

run "wrong_values_are_refused" {
  command = plan

  module {
    source = "../../modules/monitoring"
  }

  variables {
    queue_arns           = []
    project              = "a b"
    log_retention_days   = 100
    alarm_email          = "nobody"
    failed_jobs_per_hour = 0
    monthly_budget_usd   = -1
  }

  expect_failures = [
    var.queue_arns, var.project, var.log_retention_days, var.alarm_email, var.failed_jobs_per_hour, var.monthly_budget_usd,
  ]
}
