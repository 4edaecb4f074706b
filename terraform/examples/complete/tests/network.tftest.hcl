mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
}

variables {
  name = "ftm-test"
}

run "own_vpc_lets_nothing_in" {
  module {
    source = "../../modules/network"
  }

  assert {
    condition     = length(aws_subnet.public) == 3 && alltrue(aws_subnet.public[*].map_public_ip_on_launch)
    error_message = "not a public subnet in every zone"
  }
  assert {
    condition     = length(distinct(aws_subnet.public[*].availability_zone)) == 3
    error_message = "two subnets in one zone"
  }
  assert {
    condition     = aws_vpc_endpoint.s3[0].vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.eu-central-1.s3"
    error_message = "no gateway endpoint of S3"
  }
  assert {
    condition     = [for rule in aws_security_group.instances[0].egress : rule.from_port] == [443]
    error_message = "more than 443 may go out"
  }
}

run "given_subnets_make_nothing" {
  module {
    source = "../../modules/network"
  }

  variables {
    subnet_ids         = ["subnet-0123456789abcdef0"]
    security_group_ids = ["sg-0123456789abcdef0"]
  }

  assert {
    condition = 0 == sum([
      length(aws_vpc.this), length(aws_subnet.public), length(aws_internet_gateway.this), length(aws_route_table.public),
      length(aws_route.internet), length(aws_vpc_endpoint.s3), length(aws_security_group.instances), length(aws_default_security_group.unused),
    ])
    error_message = "something was made"
  }
  assert {
    condition     = output.subnet_ids == tolist(["subnet-0123456789abcdef0"]) && output.security_group_ids == tolist(["sg-0123456789abcdef0"])
    error_message = "the given ones are not passed on"
  }
}

run "wrong_security_groups_are_refused" {
  command = plan

  module {
    source = "../../modules/network"
  }

  variables {
    subnet_ids         = ["subnet-0123456789abcdef0"]
    security_group_ids = ["default"]
  }

  expect_failures = [var.security_group_ids]
}

run "subnets_need_a_security_group" {
  command = plan

  module {
    source = "../../modules/network"
  }

  variables {
    subnet_ids = ["subnet-0123456789abcdef0"]
  }

  expect_failures = [var.security_group_ids]
}

run "wrong_values_are_refused" {
  command = plan

  module {
    source = "../../modules/network"
  }

  variables {
    subnet_ids   = ["vpc-1"]
    vpc_cidr     = "10.0.0.0/8"
    egress_ports = [80]
  }

  expect_failures = [var.subnet_ids, var.vpc_cidr, var.egress_ports]
}
