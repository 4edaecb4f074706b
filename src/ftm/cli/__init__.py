"""The `ftm` command: one file per group of commands."""
