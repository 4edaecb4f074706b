"""Where jobs run: local processes, or AWS Batch."""
