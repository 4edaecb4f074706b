"""The text pipeline on spaCy: everything about a turn is read from one parse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, cast

import numpy as np
from spacy.language import Language

from ftm.core.errors import PreprocessingError
from ftm.core.records import FirmTurns, SpeakerTurn, TranscriptSentence
from ftm.text.base import FirmText
from ftm.text.characters import pieces, readable
from ftm.text.components import in_zone
from ftm.text.roster import Roster, make_roster
from ftm.text.tokens import TokenReader, Tokens
from ftm.text.words import TRANSCRIPTION_MARK, cleaned_word

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
        reader: reads its tokens, sentences, lemmas and entities.
        fingerprint: what determines its output.
        stopwords: lower-case words that never reach the cleaned text.
        phrases: pairs of lower-case words that never do together.
        is_word: whether a lower-case word is ordinary English (see `make_roster`).
        learned_strings: how far the vocabulary may grow before firms are read in memory zones.
    """

    def __init__(
        self,
        nlp: Language,
        *,
        reader: TokenReader,
        fingerprint: Mapping[str, str],
        stopwords: frozenset[str],
        phrases: Sequence[tuple[str, ...]] = (),
        is_word: Callable[[str], bool],
        learned_strings: int = LEARNED_STRINGS,
    ) -> None:
        self.nlp = nlp
        self._reader = reader
        self._fingerprint = dict(fingerprint)
        self._stopwords = stopwords
        self._is_word = is_word
        self._max_strings = len(nlp.vocab.strings) + learned_strings
        self._words: dict[int, str] = {}
        self._phrases = _phrase_hashes(nlp, phrases)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See `TextPipeline`."""
        return self._fingerprint

    def process(self, firm: FirmTurns) -> FirmText:
        """See `TextPipeline`.

        Operator turns are left out. The raw text of a sentence is as spoken, with runs of blanks
        and newlines made one blank and invisible characters removed.
        """
        try:
            reason = _reason_to_skip(firm.turns)
            if reason:
                return FirmText(firm.call.firm_id, (), {}, skip_reason=reason)
            with self._zone():
                return self._read(firm)
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise PreprocessingError(
                f"Firm {firm.call.firm_id!r}, transcript {firm.call.transcript_id!r}, could not "
                f"be preprocessed: {type(error).__name__}: {error}"
            ) from error

    def split(self, text: str) -> list[str]:
        """All sentences of a text as spoken, before any is dropped; [] for blank text."""
        with self._zone():
            tokens = self._reader.read(list(pieces(readable(text))))
        return [raw for _, _, raw in _raw_sentences(tokens) if raw]

    def _zone(self) -> AbstractContextManager[Any]:
        if len(self.nlp.vocab.strings) < self._max_strings:
            return nullcontext()
        zone: AbstractContextManager[Any] = self.nlp.memory_zone()
        return zone

    def _read(self, firm: FirmTurns) -> FirmText:
        spoken = [turn for turn in firm.turns if not _is_operator(turn)]
        parts = [(part, turn) for turn in spoken for part in pieces(readable(turn.raw_text))]
        tokens = self._reader.read([part for part, _ in parts])
        roster = make_roster(
            (turn.speaker_name for turn in firm.turns),
            self._is_word,
            "\n".join(turn.raw_text for turn in firm.turns),
            firm_name=firm.call.firm_name,
        )
        cleaned = self._cleaned(tokens, roster)
        owners = [turn for _, turn in parts]
        return _firm_text(firm, _kept_sentences(tokens, cleaned), tokens.ends, owners)

    def _cleaned(self, tokens: Tokens, roster: Roster) -> list[str]:
        """One word a token, "" where nothing of it reaches the cleaned text."""
        keys = tokens.keys.tolist()
        known = self._words.get
        cleaned = [known(key) for key in keys]
        if None in cleaned:
            for at, word in enumerate(cleaned):
                if word is None:
                    cleaned[at] = self._learn(keys[at], tokens, at)
        for at in tokens.in_entity:
            cleaned[at] = ""
        words = cast("list[str]", cleaned)
        _blank_marks(tokens, words)
        self._blank_phrases(tokens, words)
        self._blank_names(tokens, roster, words)
        return words

    def _learn(self, key: int, tokens: Tokens, at: int) -> str:
        spoken = self.nlp.vocab.strings[int(tokens.orths[at])]
        word = cleaned_word(spoken, tokens.lemma_at(at), self._stopwords)
        if not in_zone(self.nlp.vocab):
            self._words[key] = word
        return word

    def _blank_phrases(self, tokens: Tokens, cleaned: list[str]) -> None:
        first, second = tokens.orths[:-1], tokens.orths[1:].copy()
        second[np.array(tokens.starts[1:-1], dtype=np.intp) - 1] = 0  # no word has this hash
        for one, other in self._phrases:
            for at in np.flatnonzero((first == one) & (second == other)).tolist():
                cleaned[at : at + 2] = ["", ""]

    def _blank_names(self, tokens: Tokens, roster: Roster, cleaned: list[str]) -> None:
        strings, orths = self.nlp.vocab.strings, tokens.orths
        hashes = np.array([strings.add(word) for word in sorted(roster.words)], dtype=np.uint64)
        candidates = np.flatnonzero(np.isin(orths, hashes)).tolist()
        is_first = frozenset(tokens.starts).__contains__

        def spoken(at: int) -> str:
            return str(strings[int(orths[at])]) if at < len(orths) else ""

        for first, end in roster.mentions(spoken, candidates, is_first):
            cleaned[first:end] = [""] * (end - first)


def _phrase_hashes(
    nlp: Language, phrases: Sequence[tuple[str, ...]]
) -> list[tuple[np.uint64, np.uint64]]:
    """The hashes of each pair of words, its first also with a capital."""
    add = nlp.vocab.strings.add
    return [
        (np.uint64(add(spelled)), np.uint64(add(second)))
        for first, second in phrases
        for spelled in sorted({first, first.capitalize()})
    ]


def _is_operator(turn: SpeakerTurn) -> bool:
    return turn.speaker_type.strip().lower() == "operator"


def _reason_to_skip(turns: Sequence[SpeakerTurn]) -> str | None:
    if not turns:
        return "no_components"
    spoken = [turn for turn in turns if readable(turn.raw_text).strip()]
    if not spoken:
        return "no_text"
    return "operator_only" if all(map(_is_operator, spoken)) else None


def _raw_sentences(tokens: Tokens) -> Iterator[tuple[int, int, str]]:
    """Yield (first token, token after the last, text as spoken) of every sentence."""
    text, offsets = tokens.text, tokens.offsets[tokens.starts].tolist()
    spans = zip(pairwise(tokens.starts), pairwise(offsets), strict=True)
    for (first, end), (start, stop) in spans:
        yield first, end, " ".join(text[start:stop].split())


def _kept_sentences(tokens: Tokens, cleaned: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (first token, raw text, cleaned text) of the sentences that keep two words or more."""
    for first, end, raw in _raw_sentences(tokens):
        kept = [word for word in cleaned[first:end] if word]
        if len(kept) >= _MIN_WORDS:
            yield first, raw, " ".join(kept)


def _firm_text(
    firm: FirmTurns,
    kept: Iterable[tuple[int, str, str]],
    ends: Sequence[int],
    owners: Sequence[SpeakerTurn],
) -> FirmText:
    prefix = f"{firm.call.firm_id}_{firm.call.transcript_id}_"
    sentences: list[TranscriptSentence] = []
    spans: dict[int, tuple[int, int]] = {}
    part = 0
    for at, (token, raw, cleaned) in enumerate(kept):
        while token >= ends[part]:
            part += 1
        turn = owners[part]
        name = f"{prefix}{at:04d}"
        sentences.append(TranscriptSentence(name, raw, cleaned, turn.speaker_type, at))
        spans[turn.component_order] = (spans.get(turn.component_order, (at, at))[0], at)
    reason = None if sentences else "no_sentences"
    return FirmText(firm.call.firm_id, tuple(sentences), spans, skip_reason=reason)


def _blank_marks(tokens: Tokens, cleaned: list[str]) -> None:
    """Drop the words that a transcriber's mark covers, in place; none reaches over a turn's end."""
    edges = tokens.offsets[[0, *tokens.ends]].tolist()
    found = (TRANSCRIPTION_MARK.finditer(tokens.text, *turn) for turn in pairwise(edges))
    marks = [match.span() for matches in found for match in matches]
    for first, end in np.searchsorted(tokens.offsets[:-1], marks).tolist() if marks else ():
        cleaned[first:end] = [""] * (end - first)
