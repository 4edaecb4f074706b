data "aws_caller_identity" "current" {}

locals {
  bucket = coalesce(var.bucket_name, "${var.name}-${data.aws_caller_identity.current.account_id}")
  folder = var.store_prefix == "" ? "" : "${var.store_prefix}/"
}

resource "aws_s3_bucket" "store" {
  bucket        = local.bucket
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_ownership_controls" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket = aws_s3_bucket.store.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Not every writer is ftm: a version brings back what somebody overwrote or deleted by hand.
resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }

    # One call to KMS per bucket and hour instead of one per object.
    bucket_key_enabled = var.kms_key_arn != null
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket = aws_s3_bucket.store.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.store.arn, "${aws_s3_bucket.store.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 refuses two changes of a bucket's access at the same moment.
  depends_on = [aws_s3_bucket_public_access_block.store]
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    id     = "old-versions-and-broken-uploads"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_expiry_days
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # Off unless asked for: load_topics, ftm label, ftm link and ftm verify read these objects of a
  # published run, too; a rerun of the map stage makes them again.
  dynamic "rule" {
    for_each = var.intermediate_expiry_days > 0 ? [var.intermediate_expiry_days] : []

    content {
      id     = "intermediate"
      status = "Enabled"

      filter {
        prefix = "${local.folder}intermediate/"
      }

      expiration {
        days = rule.value
      }
    }
  }

  # A rule on old versions has a meaning only once there are versions.
  depends_on = [aws_s3_bucket_versioning.store]
}

# No lifecycle policy: a job definition names its image by digest, and an expired image would be
# missed only when the next job starts.
resource "aws_ecr_repository" "images" {
  count = var.create_repository ? 1 : 0

  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_destroy

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}
