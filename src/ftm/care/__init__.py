"""Keeping an installation in order: what `ftm doctor` looks at, and writing `ftm.toml`."""
