"""What a worker's exit code means, in words."""

from __future__ import annotations

KILLED = 137
"""Exit code of a process that SIGKILL ended."""

UNFLUSHED = 120
"""Exit code of a Python process that could not flush its output:
https://docs.python.org/3/library/sys.html#sys.exit"""


def explain(exit_code: int, *, if_killed: str) -> str:
    """An exit code in words.

    Args:
        exit_code: 128 + n when signal n ended the process.
        if_killed: what to do about too little memory.
    """
    if exit_code == KILLED:
        return f"killed (exit 137), most likely out of memory: {if_killed}"
    if exit_code == UNFLUSHED:
        return "its log could not be written (exit 120), most likely because the disk is full"
    if exit_code == 143:
        return "stopped by SIGTERM (exit 143)"
    if exit_code > 128:
        return f"ended by signal {exit_code - 128} (exit {exit_code})"
    return f"exit {exit_code}"
