"""Run benchmarks, each in its own process: `make bench` or `python -m benchmarks NAME…`."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import benchmarks


def names() -> list[str]:
    """Modules of this package that are benchmarks: all that do not start with an underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")


def main(wanted: list[str]) -> int:
    """Run the wanted benchmarks, or all; the number that failed is the exit code."""
    failed = 0
    for name in wanted or names():
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
