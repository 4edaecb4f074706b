"""Texts that came to WRDS after a quarter was prefetched."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from ftm.connectors.discovery import PrefetchSource
from ftm.core.counted import counted
from ftm.prefetch.plan import PlanChange, kept_calls

OPERATOR = "Operator"
WITHOUT_TEXT = ("no_components", "no_text")
"""Reasons to skip a firm that more data at WRDS may lift."""


def find_arrived_texts(
    source: PrefetchSource, plan: pa.Table, skipped: Mapping[str, str]
) -> tuple[PlanChange, ...]:
    """Skipped firms of which WRDS has text now, for the very transcript of the plan.

    A transcript's details may be on WRDS before its text is; the prefetch does not ask again, as
    it would log in for it every time.

    Args:
        source: asked for these firms only.
        plan: schema CALLS.
        skipped: firm → reason, as the manifest has it.
    """
    calls = [call for call in kept_calls(plan) if skipped.get(call.firm_id) in WITHOUT_TEXT]
    if not calls:
        return ()
    found = []
    for turns in source.iter_turns(calls):
        n_spoken = sum(
            turn.speaker_type != OPERATOR and bool(turn.raw_text.strip()) for turn in turns.turns
        )
        if n_spoken:
            firm = turns.call
            now = f"{counted(n_spoken, 'component')} with text"
            found.append(PlanChange(firm.firm_id, firm.firm_name, skipped[firm.firm_id], now))
    return tuple(found)
