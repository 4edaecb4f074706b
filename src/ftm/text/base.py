"""The interface of a text pipeline: speaker turns in, clean sentences out. Imports no spaCy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ftm.core.records import FirmTurns, TranscriptSentence


@dataclass(frozen=True, slots=True)
class FirmText:
    """A firm's sentences, or the reason why there are none, or the error that stopped it.

    Args:
        firm_id: whose.
        sentences: in order of position, which counts from 0 over what survived filtering.
        spans: component_order → (first_position, last_position) of the turns that kept sentences.
        skip_reason: one of core.schemas.SKIP_REASONS when there is no sentence, else None.
        error: what failed, when the firm could not be processed at all, else None.
    """

    firm_id: str
    sentences: tuple[TranscriptSentence, ...]
    spans: Mapping[int, tuple[int, int]]
    skip_reason: str | None = None
    error: str | None = None


class TextPipeline(Protocol):
    """Splits, cleans and filters one firm at a time; the same input gives the same output."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What determines the output: pipeline name, text version, hash of resources and rules.

        Never ftm's own version. Two equal fingerprints promise equal sentences.
        """

    def process(self, firm: FirmTurns) -> FirmText:
        """Preprocess one firm's call in one pass.

        Raises:
            PreprocessingError: the text could not be processed.
        """
