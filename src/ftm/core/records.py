"""What travels between the layers: calls, speaker turns, sentences, firms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from html import escape
from typing import TYPE_CHECKING, Any

from ftm.core.counted import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """One component of a transcript as WRDS delivers it.

    `component_type` is WRDS's name ("Answer"), `section` one of presentation, qa, unknown;
    `raw_text` is never None (NULL is read as the empty string).
    """

    component_order: int
    component_type: str
    section: str
    person_id: str
    speaker_name: str
    speaker_type: str
    raw_text: str


@dataclass(frozen=True, slots=True)
class FirmCall:
    """The call that represents a firm in a quarter, with the identifiers that go into its chunk."""

    firm_id: str
    firm_name: str
    transcript_id: str
    permno: int
    gvkey: str
    earnings_call_date: date
    link_date: date | None


@dataclass(frozen=True, slots=True)
class FirmTurns:
    """A firm's call and its speaker turns, ordered by component_order."""

    call: FirmCall
    turns: tuple[SpeakerTurn, ...]


@dataclass(frozen=True, slots=True)
class TranscriptSentence:
    """One preprocessed sentence; position is 0-based in the call, after filtering."""

    sentence_id: str
    raw_text: str
    cleaned_text: str
    speaker_type: str
    position: int


@dataclass(frozen=True, slots=True, repr=False)
class FirmTranscriptData:
    """A firm's sentences in order of position.

    `metadata` holds permno, gvkey, transcript_id, earnings_call_date, quarter and, where the
    source knows them, link_date and n_components.
    """

    firm_id: str
    firm_name: str
    sentences: list[TranscriptSentence]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = counted(len(self.sentences), "sentence")
        return f"<{self.firm_name} ({self.firm_id}): {size}>"

    def to_pandas(self) -> pd.DataFrame:
        """One row per sentence, with the firm's identifiers in front."""
        return TranscriptData({self.firm_id: self}).to_pandas()

    def _repr_html_(self) -> str:
        rows = [(s.position, s.speaker_type, s.raw_text) for s in self.sentences[:10]]
        size = counted(len(self.sentences), "sentence")
        title = f"{self.firm_name} ({self.firm_id}): {size}"
        return _html_table(title, ("position", "speaker", "sentence"), rows)


@dataclass(frozen=True, slots=True, repr=False)
class TranscriptData:
    """Firms by firm_id, in the order of the source."""

    firms: dict[str, FirmTranscriptData]

    def __len__(self) -> int:
        return len(self.firms)

    def __iter__(self) -> Iterator[FirmTranscriptData]:
        return iter(self.firms.values())

    def __getitem__(self, firm_id: str) -> FirmTranscriptData:
        return self.firms[firm_id]

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'firm')}, {counted(self.n_sentences, 'sentence')}>"

    @property
    def n_sentences(self) -> int:
        """Sentences of all firms together."""
        return sum(len(firm.sentences) for firm in self)

    def to_pandas(self) -> pd.DataFrame:
        """One row per sentence; columns firm_id, firm_name, the firm's metadata, the sentence."""
        import pandas as pd

        return pd.DataFrame([_row(firm, s) for firm in self for s in firm.sentences])

    def _repr_html_(self) -> str:
        rows = [
            (f.firm_id, f.firm_name, f.metadata.get("earnings_call_date", ""), len(f.sentences))
            for f in list(self)[:20]
        ]
        title = f"{counted(len(self), 'firm')}, {counted(self.n_sentences, 'sentence')}"
        return _html_table(title, ("firm_id", "firm", "call", "sentences"), rows)


def _row(firm: FirmTranscriptData, sentence: TranscriptSentence) -> Mapping[str, Any]:
    return {
        "firm_id": firm.firm_id,
        "firm_name": firm.firm_name,
        **firm.metadata,
        "sentence_id": sentence.sentence_id,
        "position": sentence.position,
        "speaker_type": sentence.speaker_type,
        "raw_text": sentence.raw_text,
        "cleaned_text": sentence.cleaned_text,
    }


def _html_table(title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>"
