"""Peak memory of `ftm prefetch` for many firms against a fifth of them.

    python -m benchmarks.memory [--firms 2000] [--sentences 400]

Fails if five times the firms need more than 1.15 times the memory.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks._report import Line, report
from benchmarks._synthetic_wrds import prefetch, synthetic_wrds

AT_MOST = 1.15


def main() -> int:
    """Measure and print; 1 if the ratio is too high."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=2000)
    parser.add_argument("--sentences", type=int, default=400)
    given = parser.parse_args()
    few = given.firms // 5
    with synthetic_wrds(given.firms, n_sentences=given.sentences) as server:
        small = prefetch(server, "--limit", str(few))
        large = prefetch(server)
    detail = f"{small.peak_mib:.0f} and {large.peak_mib:.0f} MiB; {large.seconds:.0f} s"
    ratio = large.peak_mib / small.peak_mib
    what = f"prefetch, peak memory: {given.firms} firms to {few}"
    return report([Line(what, ratio, ("<=", AT_MOST), detail)])


if __name__ == "__main__":
    sys.exit(main())
