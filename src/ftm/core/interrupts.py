"""Stops that are no failures."""

from __future__ import annotations


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM where running the same command again is not the way to go on.

    The message says what is.
    """


class StoppedWatching(Stopped):
    """Ctrl-C while watching jobs that go on by themselves; the message says how to come back."""
