"""Peak memory of `ftm prefetch` for many firms against a fifth of them.

    python -m benchmarks.memory [--firms 2000] [--sentences 400]

Fails if five times the firms need more than 1.15 times the memory.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks._synthetic_wrds import prefetch, synthetic_wrds

AT_MOST = 1.15


def main() -> int:
    """Print the figures as JSON; 1 if the ratio is too high."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=2000)
    parser.add_argument("--sentences", type=int, default=400)
    given = parser.parse_args()
    few = given.firms // 5
    with synthetic_wrds(given.firms, n_sentences=given.sentences) as server:
        small = prefetch(server, "--limit", str(few))
        large = prefetch(server)
    ratio = large.peak_mib / small.peak_mib
    figures = {
        f"peak_mib_{few}_firms": round(small.peak_mib),
        f"peak_mib_{given.firms}_firms": round(large.peak_mib),
        "seconds": round(large.seconds, 1),
        "ratio": round(ratio, 3),
    }
    print(json.dumps(figures, indent=1))
    return int(ratio > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
