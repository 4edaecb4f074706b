"""Stops that are no failures."""

from __future__ import annotations


class StoppedWatching(KeyboardInterrupt):
    """Ctrl-C while watching jobs that go on by themselves; the message says how to come back."""
