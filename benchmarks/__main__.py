"""Run benchmarks, each in its own process: `make bench` or `python -m benchmarks NAME…`."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import benchmarks

FOR_HOURS = ("load",)
"""Only run when named."""


def names() -> list[str]:
    """Modules of this package that are benchmarks: all that do not start with an underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")


def main(wanted: list[str]) -> int:
    """Run the wanted benchmarks, or all but the longest; the exit code is how many failed."""
    failed = 0
    for name in wanted or [name for name in names() if name not in FOR_HOURS]:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
