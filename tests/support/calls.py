"""Small calls for tests of the text pipelines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from datetime import date

from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn
from ftm.text.base import FirmText

EXECUTIVE, ANALYST, OPERATOR = "Executives", "Analysts", "Operator"


def turn(
    text: str, *, order: int = 0, name: str = "Unknown Executive", kind: str = EXECUTIVE
) -> SpeakerTurn:
    return SpeakerTurn(order, "Answer", "qa", "1", name, kind, text)


def firm(*turns: SpeakerTurn | str, firm_id: str = "7") -> FirmTurns:
    """A firm whose turns are numbered in the order given."""
    call = FirmCall(firm_id, "Acme Corp.", "99", 12345, "001234", date(2023, 1, 31), None)
    numbered = []
    for order, one in enumerate(turns):
        made = turn(one) if isinstance(one, str) else one
        numbered.append(
            SpeakerTurn(
                order,
                made.component_type,
                made.section,
                made.person_id,
                made.speaker_name,
                made.speaker_type,
                made.raw_text,
            )
        )
    return FirmTurns(call, tuple(numbered))


def text_of(firm: FirmTurns, text: FirmText) -> FirmText:
    """What a preprocessor makes where a test wants the text itself."""
    return text


def firms_that_grew(firm_ids: Iterable[str]) -> list[FirmTurns]:
    """Firms that all say the same."""
    return [firm("Organic growth was strong.", firm_id=firm_id) for firm_id in firm_ids]


def text_or_death(firm: FirmTurns, text: FirmText) -> FirmText:
    """`text_of`, but the worker dies of firms named oom… and crash…, as of memory or in C code."""
    if text.error is None and firm.call.firm_id.startswith("oom"):
        os.kill(os.getpid(), signal.SIGKILL)
    if text.error is None and firm.call.firm_id.startswith("crash"):
        os._exit(1)
    return text


CALL = firm(
    turn("Good morning. Our first question comes from Ann Lee.", name="Operator", kind=OPERATOR),
    turn("Thank you, operator. Organic sales grew 5% to $1.2 billion in the first quarter of 2023."
         " Pricing offset higher freight costs in Europe.", name="John Market"),
    turn("Thanks. How should we think about gross margin in the second half?",
         name="Ann Lee", kind=ANALYST),
    turn("Well, Ann, gross margin expands as freight costs fall.\nMr. Market will cover capital"
         " expenditure.", name="Jane van Dyke"),
)  # fmt: skip
