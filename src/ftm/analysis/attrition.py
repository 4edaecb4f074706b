"""From earnings calls to firms with topics: a waterfall whose lines add up exactly.

A call is counted once per firm that holds it: a joint call of two firms is two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from ftm.core.errors import CorruptObjectError
from ftm.core.quarter import Quarter
from ftm.core.schemas import PLAN_REASONS, SKIP_REASONS
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import RunRecords, read_calls, read_run_manifest

OTHER_CALL = "other_call"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the waterfall.

    Args:
        kind: `total`, or `drop` for what is lost between two totals.
        name: a reason, or the total's name; stable, for programs.
        text: in words.
        n: calls or firms; of a drop, how many are lost.
    """

    kind: Literal["total", "drop"]
    name: str
    text: str
    n: int


@dataclass(frozen=True, slots=True)
class Attrition:
    """The waterfall of a quarter; each total is the one before it less the drops between them.

    Args:
        quarter: like 2023Q1.
        lines: of the waterfall.
        n_sharing_permno: kept firms that have their PERMNO in common with another kept firm.
    """

    quarter: str
    lines: tuple[Line, ...]
    n_sharing_permno: int = 0

    def total(self, name: str) -> int:
        """A total by name, like `kept`."""
        return next(line.n for line in self.lines if line.kind == "total" and line.name == name)


def read_attrition(
    store: ObjectStore, quarter: Quarter, run: RunRecords | None = None
) -> Attrition:
    """The waterfall of a prefetched quarter, down to firms with sentences, or with topics.

    Args:
        store: where the quarter is.
        quarter: which.
        run: goes on to the firms this run has done, from the prefetch that it read, which a
            refresh may have replaced since.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched.
    """
    if run is None:
        manifest = load_manifest(store, quarter)
    else:
        manifest = read_run_manifest(store, run.layout, run.spec)
    return build_attrition(read_calls(store, manifest), manifest, run)


def build_attrition(
    calls: pa.Table, manifest: PrefetchManifest, run: RunRecords | None = None
) -> Attrition:
    """Count a plan (schema CALLS), what the prefetch made of it and what a run made of that.

    Raises:
        CorruptObjectError: the plan, the manifest and the run contradict each other.
    """
    reasons = Counter(calls["reason"].to_pylist())
    kept = calls.filter(calls["kept"])["firm_id"].to_pylist()
    fall = _Waterfall("firm_calls", "earnings calls (one per firm and event)", calls.num_rows)
    fall.drop(OTHER_CALL, PLAN_REASONS[OTHER_CALL], reasons.pop(OTHER_CALL, 0))
    fall.total("firms", "firms with an earnings call")
    reasons.pop(None, None)
    fall.drop_all(reasons, PLAN_REASONS)
    fall.total("kept", "firms kept, with a gvkey and a PERMNO")
    fall.must_be(len(kept), "the plan keeps")
    _drop_prefetch(fall, kept, manifest)
    if run is not None:
        _drop_run(fall, run)
    return Attrition(manifest.quarter, tuple(fall.lines), _count_sharing_permno(calls))


def _count_sharing_permno(calls: pa.Table) -> int:
    firms = Counter(calls.filter(calls["kept"])["permno"].to_pylist())
    return sum(n for n in firms.values() if n > 1)


def _drop_prefetch(fall: _Waterfall, kept: Sequence[str], manifest: PrefetchManifest) -> None:
    fall.drop_all(Counter(manifest.skipped.values()), SKIP_REASONS)
    fall.drop("failed", "preprocessing failed (ftm status says why)", len(manifest.failed))
    known = {*manifest.firm_to_chunk, *manifest.skipped, *manifest.failed}
    pending = len(set(kept) - known)
    fall.drop("pending", "not yet prefetched", pending)
    fall.total("with_sentences", "firms with sentences")
    fall.must_be(manifest.n_firms, "the manifest holds")


def _drop_run(fall: _Waterfall, run: RunRecords) -> None:
    fall.drop_all(Counter(run.skipped.values()), {})
    fall.drop("map_failed", "clustering failed (ftm status says why)", len(run.failed))
    left = fall.left - len(run.done)
    fall.drop("not_run", "not in this run, or not yet", left)
    fall.total("clustered", f"firms clustered by run {run.spec.run_id}")


class _Waterfall:
    """Lines so far, and what is left."""

    def __init__(self, name: str, text: str, n: int) -> None:
        self.left = n
        self.lines = [Line("total", name, text, n)]

    def drop(self, name: str, text: str, n: int) -> None:
        """Lose n; nothing to say when it is 0.

        Raises:
            CorruptObjectError: n is negative, or more than there are.
        """
        if not 0 <= n <= self.left:
            raise CorruptObjectError(
                f"the waterfall cannot lose {n} of {self.left} firms as {text!r}; what is counted "
                "here does not belong together"
            )
        if n:
            self.left -= n
            self.lines.append(Line("drop", name, text, n))

    def drop_all(self, counts: Mapping[str, int], known: Mapping[str, str]) -> None:
        """Known reasons in their order, then others by name."""
        for name in [*known, *sorted(counts.keys() - known.keys())]:
            self.drop(name, known.get(name, name), counts.get(name, 0))

    def total(self, name: str, text: str) -> None:
        """What is left now."""
        self.lines.append(Line("total", name, text, self.left))

    def must_be(self, n: int, who: str) -> None:
        """Two ways to count that differ are a defect of the data, not a rounding."""
        if self.left != n:
            raise CorruptObjectError(
                f"the waterfall arrives at {self.left} firms for {self.lines[-1].text!r}, but "
                f"{who} {n}; the plan and the manifest do not belong together"
            )


def to_csv(attrition: Attrition) -> str:
    """`quarter,kind,name,text,n`, one line each, with a header; commas in texts are quoted."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["quarter", "kind", "name", "text", "n"])
    writer.writerows(
        [attrition.quarter, line.kind, line.name, line.text, line.n] for line in attrition.lines
    )
    return out.getvalue()


def to_latex(attrition: Attrition) -> str:
    r"""A `tabular` for a paper, with booktabs rules; drops are indented and negative."""
    body = [_latex_row(line) for line in attrition.lines]
    return "\n".join(
        [
            r"\begin{tabular}{lr}",
            r"\toprule",
            rf"{escape_latex(attrition.quarter)} & $n$ \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex_row(line: Line) -> str:
    text = escape_latex(line.text[0].upper() + line.text[1:] if line.kind == "total" else line.text)
    number = f"{line.n:,}".replace(",", "{,}")
    if line.kind == "total":
        return rf"{text} & ${number}$ \\"
    return rf"\quad less: {text} & $-{number}$ \\"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)
