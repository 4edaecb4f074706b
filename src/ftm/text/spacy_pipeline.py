"""The text pipeline on spaCy: everything about a turn is read from one Doc, parsed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from spacy.attrs import ENT_TYPE, IDX, LEMMA, ORTH, SENT_START
from spacy.language import Language
from spacy.tokens import Doc

from ftm.core.errors import PreprocessingError
from ftm.core.records import FirmTurns, SpeakerTurn, TranscriptSentence
from ftm.text.base import FirmText
from ftm.text.characters import pieces, readable
from ftm.text.roster import Roster, make_roster
from ftm.text.words import DROPPED_ENTITIES, TRANSCRIPTION_MARK, cleaned_word

LEARNED_STRINGS = 40_000
"""How many strings the vocabulary may learn for good.

Inside a `memory_zone` spaCy forgets every new word and caches no tokenisation, which makes it five
times slower. So the first calls are read outside one, and the common words of the field stay; from
then on each firm has its own zone, and what is new in it goes with it.
"""
_MIN_WORDS = 2


class SpacyTextPipeline:
    """Any spaCy pipeline with sentences, lemmas and entities, behind `TextPipeline`.

    Args:
        nlp: the pipeline.
        fingerprint: what determines its output.
        stopwords: lower-case words that never reach the cleaned text.
        is_word: whether a lower-case word is ordinary English (see `make_roster`).
        learned_strings: size of the vocabulary from which on each firm is read in a memory zone.
    """

    def __init__(
        self,
        nlp: Language,
        *,
        fingerprint: Mapping[str, str],
        stopwords: frozenset[str],
        is_word: Callable[[str], bool],
        learned_strings: int = LEARNED_STRINGS,
    ) -> None:
        self.nlp = nlp
        self._fingerprint = dict(fingerprint)
        self._is_word = is_word
        self._max_strings = len(nlp.vocab.strings) + learned_strings
        self._words = _CleanedWords(nlp, stopwords)
        self._dropped = frozenset(nlp.vocab.strings.add(label) for label in DROPPED_ENTITIES)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See `TextPipeline`."""
        return self._fingerprint

    def process(self, firm: FirmTurns) -> FirmText:
        """See `TextPipeline`.

        Operator turns are left out. The raw text of a sentence is as spoken, with runs of blanks
        and newlines made one blank and invisible characters removed.
        """
        reason = _reason_to_skip(firm.turns)
        if reason:
            return FirmText(firm.call.firm_id, (), {}, skip_reason=reason)
        try:
            with self._zone():
                return self._read(firm)
        except (ValueError, KeyError, IndexError, RuntimeError) as error:
            raise PreprocessingError(
                f"Firm {firm.call.firm_id!r}, transcript {firm.call.transcript_id!r}, could not "
                f"be preprocessed: {type(error).__name__}: {error}"
            ) from error

    def _zone(self) -> AbstractContextManager[Any]:
        vocab = self.nlp.vocab
        if len(vocab.strings) < self._max_strings:
            return nullcontext()
        return self.nlp.memory_zone()  # type: ignore[no-any-return]

    def _read(self, firm: FirmTurns) -> FirmText:
        roster = make_roster((turn.speaker_name for turn in firm.turns), self._is_word)
        turns = [turn for turn in firm.turns if not _is_operator(turn)]
        parts = [(p, turn) for turn in turns for p in pieces(readable(turn.raw_text))]
        sentences: list[TranscriptSentence] = []
        spans: dict[int, tuple[int, int]] = {}
        prefix = f"{firm.call.firm_id}_{firm.call.transcript_id}_"
        for doc, turn in self.nlp.pipe(parts, as_tuples=True):
            for raw, cleaned in self._sentences(doc, roster):
                at = len(sentences)
                sentences.append(
                    TranscriptSentence(f"{prefix}{at:04d}", raw, cleaned, turn.speaker_type, at)
                )
                spans[turn.component_order] = (spans.get(turn.component_order, (at, at))[0], at)
        reason = None if sentences else "no_sentences"
        return FirmText(firm.call.firm_id, tuple(sentences), spans, skip_reason=reason)

    def split(self, text: str) -> list[str]:
        """All sentences of a text as spoken, before any is dropped; [] for blank text."""
        found = []
        for doc in self.nlp.pipe(pieces(readable(text))):
            starts = _starts(doc.to_array(SENT_START).tolist())
            offsets = [*doc.to_array(IDX).tolist(), len(doc.text)]
            bounds = [*starts, len(doc)]
            for first, end in zip(starts, bounds[1:], strict=True):
                found.append(" ".join(doc.text[offsets[first] : offsets[end]].split()))
        return [sentence for sentence in found if sentence]

    def _sentences(self, doc: Doc, roster: Roster) -> Iterator[tuple[str, str]]:
        """Yield (raw text, cleaned text) of the sentences that keep at least two words."""
        if not len(doc):
            return
        text = doc.text
        columns = doc.to_array([ORTH, LEMMA, ENT_TYPE, SENT_START, IDX]).T.tolist()
        orths, lemmas, entities, marks, offsets = columns
        starts = _starts(marks)
        words, dropped = self._words, self._dropped
        cleaned = [
            "" if entity and entity in dropped else words[key]
            for key, entity in zip(zip(orths, lemmas, strict=True), entities, strict=True)
        ]
        _blank_marks(text, offsets, cleaned)
        if roster:
            _blank_names(doc, roster, starts, cleaned)
        offsets.append(len(text))
        starts.append(len(doc))
        for first, end in zip(starts, starts[1:], strict=False):
            kept = [word for word in cleaned[first:end] if word]
            if len(kept) >= _MIN_WORDS:
                yield " ".join(text[offsets[first] : offsets[end]].split()), " ".join(kept)


class _CleanedWords(dict[tuple[int, int], str]):
    """(hash of the token, hash of its lemma) → its word in the cleaned text, "" for none."""

    def __init__(self, nlp: Language, stopwords: frozenset[str]) -> None:
        super().__init__()
        self._vocab = nlp.vocab
        self._stopwords = stopwords

    def __missing__(self, key: tuple[int, int]) -> str:
        strings = self._vocab.strings
        word = cleaned_word(strings[key[0]], strings[key[1]] if key[1] else "", self._stopwords)
        if not self._vocab.in_memory_zone:
            self[key] = word
        return word


def _is_operator(turn: SpeakerTurn) -> bool:
    return turn.speaker_type.strip().lower() == "operator"


def _reason_to_skip(turns: Sequence[SpeakerTurn]) -> str | None:
    if not turns:
        return "no_components"
    spoken = [turn for turn in turns if readable(turn.raw_text).strip()]
    if not spoken:
        return "no_text"
    return "operator_only" if all(map(_is_operator, spoken)) else None


def _starts(marks: Sequence[int]) -> list[int]:
    """Indices of the first tokens of sentences; the very first token always is one."""
    return [index for index, mark in enumerate(marks) if mark == 1 or index == 0]


def _blank_marks(text: str, offsets: Sequence[int], cleaned: list[str]) -> None:
    """Drop the words a transcriber's mark covers, in place."""
    if "[" not in text and "(" not in text and "<" not in text:
        return
    token = 0
    for match in TRANSCRIPTION_MARK.finditer(text):
        while token < len(offsets) and offsets[token] < match.start():
            token += 1
        while token < len(offsets) and offsets[token] < match.end():
            cleaned[token] = ""
            token += 1


def _blank_names(doc: Doc, roster: Roster, starts: Sequence[int], cleaned: list[str]) -> None:
    """Drop the names of the call's speakers, in place."""
    tokens = [token.text for token in doc]
    candidates = [index for index, word in enumerate(tokens) if word in roster.words]
    for first, end in roster.mentions(tokens, candidates, frozenset(starts).__contains__):
        cleaned[first:end] = [""] * (end - first)
