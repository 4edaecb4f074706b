"""A text pipeline without a language: for tests of what is read, not of how it is split."""

from __future__ import annotations

from ftm.core.records import FirmTurns, TranscriptSentence
from ftm.text.base import FirmText


class WholeTurns:
    """A text pipeline that keeps every turn as one sentence; `bad` is the firm it stumbles on."""

    fingerprint = {"pipeline": "whole turns"}  # noqa: RUF012 - read only

    def __init__(self, bad: str | None = None) -> None:
        self._bad = bad

    def process(self, firm: FirmTurns) -> FirmText:
        """See TextPipeline."""
        firm_id = firm.call.firm_id
        if firm_id == self._bad:
            return FirmText(firm_id, (), {}, error="the text is broken")
        sentences = tuple(
            TranscriptSentence(f"{firm_id}_{n}", t.raw_text, t.raw_text.lower(), t.speaker_type, n)
            for n, t in enumerate(firm.turns)
        )
        return FirmText(firm_id, sentences, {}, None if sentences else "no_components")
