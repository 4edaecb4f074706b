"""One command over several quarters: what one of them lacks must not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ftm.core.counted import counted
from ftm.core.errors import FtmError, ManifestNotFoundError, NoCallsError, UnknownFirmError
from ftm.core.quarter import Quarter

Work = Callable[[Quarter, Sequence[str] | None], None]
"""Does one quarter; raises what is said of `for_each_quarter` before it wrote anything."""


def for_each_quarter(
    quarters: Sequence[Quarter],
    firm_ids: Sequence[str] | None,
    work: Work,
    *,
    say: Callable[[str], None],
) -> None:
    """Do every quarter that has calls, each for those of the firms that have one in it.

    Args:
        quarters: in order.
        firm_ids: the firms asked for; None: all.
        work: does one.
        say: told what is left out.

    Raises:
        NoCallsError, ManifestNotFoundError: every quarter lacks that, the first's is told.
        UnknownFirmError: a firm has a call in none of them; what else was asked for is done.
    """
    if len(quarters) == 1:
        work(quarters[0], firm_ids)
        return
    known: set[str] = set()
    empty: list[FtmError] = []
    for quarter in quarters:
        try:
            known |= _work_with_known(quarter, firm_ids, work, say)
        except (NoCallsError, ManifestNotFoundError) as error:
            empty.append(error)
            say(str(error))
    if len(empty) == len(quarters):
        raise empty[0]
    if firm_ids is not None and (unknown := sorted(set(firm_ids) - known)):
        raise UnknownFirmError(
            f"unknown firm id {', '.join(unknown[:5])}: no earnings call in any quarter of "
            f"{quarters[0]}..{quarters[-1]}; what else was asked for is done",
            firm_ids=tuple(unknown),
        )


def _work_with_known(
    quarter: Quarter, firm_ids: Sequence[str] | None, work: Work, say: Callable[[str], None]
) -> set[str]:
    """Do a quarter for the firms it knows; returns these."""
    try:
        work(quarter, firm_ids)
    except UnknownFirmError as error:
        known = [firm for firm in firm_ids or () if firm not in error.firm_ids]
        n_unknown = counted(len(error.firm_ids), "firm")
        say(f"{quarter}: {n_unknown} of those asked for without an earnings call in it")
        if known:
            work(quarter, known)
        return set(known)
    return set(firm_ids or ())
