"""Carrying one quarter from prefetch check to published output."""
