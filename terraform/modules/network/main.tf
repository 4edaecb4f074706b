# Public subnets and no NAT gateway: two of these cost more a month, idle, than the jobs of a
# quarter. Instances have a public address for outgoing calls and nothing may call in. Where that is
# forbidden, pass private subnets that have a NAT gateway or interface endpoints of their own.

data "aws_region" "current" {}

data "aws_availability_zones" "here" {
  count = local.count

  state = "available"

  # Local zones lack most instance types.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  own   = length(var.subnet_ids) == 0
  count = local.own ? 1 : 0
  zones = local.own ? slice(data.aws_availability_zones.here[0].names, 0, min(4, length(data.aws_availability_zones.here[0].names))) : []
}

resource "aws_vpc" "this" {
  count = local.count

  cidr_block           = var.vpc_cidr
  enable_dns_hostnames = true
  enable_dns_support   = true

  tags = { Name = var.name }
}

# The group every VPC comes with lets its members talk to each other; without rules it does nothing.
resource "aws_default_security_group" "unused" {
  count = local.count

  vpc_id = aws_vpc.this[0].id
}

resource "aws_internet_gateway" "this" {
  count = local.count

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.name }
}

resource "aws_subnet" "public" {
  count = length(local.zones)

  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet(var.vpc_cidr, 2, count.index)
  map_public_ip_on_launch = true

  tags = { Name = "${var.name}-${local.zones[count.index]}" }
}

resource "aws_route_table" "public" {
  count = local.count

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.name }
}

resource "aws_route" "internet" {
  count = local.count

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  count = length(local.zones)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

# Chunks and image layers come through it: free of charge, and never over the internet.
resource "aws_vpc_endpoint" "s3" {
  count = local.count

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public[0].id]

  tags = { Name = "${var.name}-s3" }
}

resource "aws_security_group" "instances" {
  count = local.count

  name        = "${var.name}-instances"
  description = "Batch instances: nothing in, TLS out"
  vpc_id      = aws_vpc.this[0].id

  dynamic "egress" {
    for_each = toset(var.egress_ports)

    content {
      description = "TCP ${egress.value}"
      from_port   = egress.value
      to_port     = egress.value
      protocol    = "tcp"
      cidr_blocks = ["0.0.0.0/0"]
    }
  }

  tags = { Name = "${var.name}-instances" }
}
