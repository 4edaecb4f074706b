"""Chooses and loads a text pipeline by name: `rules`, or an installed spaCy model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ftm.core.errors import ModelNotFoundError
from ftm.text.base import TextPipeline
from ftm.text.lexicon import lexicon_version, word_set

if TYPE_CHECKING:
    from spacy.language import Language

RULES = "rules"
TEXT_VERSION = "4"
"""Raised with every change of the rules that changes a sentence, a lemma or an entity."""

_META_OF_THE_INSTALLATION = ("spacy_version", "spacy_git_version")
_UNNEEDED = ("textcat", "textcat_multilabel", "entity_linker", "spancat", "coref")


def load_pipeline(name: str) -> TextPipeline:
    """Load the text pipeline called `name`; takes about two seconds, most of it importing spaCy.

    Args:
        name: `rules`, or the name (or path) of an installed spaCy model.

    Raises:
        ModelNotFoundError: spaCy, its tables, or the model is not installed.
    """
    try:
        with _without_torch() if name == RULES else nullcontext():
            import spacy
    except ImportError as error:
        raise ModelNotFoundError(
            f"The text pipeline {name!r} needs spaCy, which is not installed here; "
            "install it with: pip install 'ftm[prefetch]'"
        ) from error
    nlp = spacy.blank("en") if name == RULES else _load_model(name)
    return _pipeline(name, nlp)


@contextmanager
def _without_torch() -> Iterator[None]:
    """Keep spaCy from importing torch where both are installed.

    thinc imports torch merely to see whether it is there, which triples the time and the memory
    that every worker takes to start; blank pipelines never use it.
    """
    hidden = "torch" not in sys.modules and "thinc" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


def _load_model(name: str) -> Language:
    import spacy

    try:
        nlp = spacy.load(name, exclude=_UNNEEDED)
    except OSError as error:
        installed = ", ".join(sorted(spacy.util.get_installed_models())) or "none"
        raise ModelNotFoundError(
            f"The text pipeline {name!r} (FTM_NLP) is not an installed spaCy model "
            f"(installed: {installed}; built in: {RULES}); install it with: "
            f"python -m spacy download {name}"
        ) from error
    if "senter" in nlp.component_names and "parser" in nlp.pipe_names:
        nlp.enable_pipe("senter")
        nlp.disable_pipe("parser")
    return nlp


def _pipeline(name: str, nlp: Language) -> TextPipeline:
    from spacy.lang.en.stop_words import STOP_WORDS

    from ftm.text import components
    from ftm.text.lemmas import lemma_table
    from ftm.text.long_words import bound_affixes
    from ftm.text.spacy_pipeline import SpacyTextPipeline
    from ftm.text.tokens import DocReader, RuleReader

    del components
    lemma = lemma_table()
    stopwords = frozenset(word.replace("\u2019", "'") for word in STOP_WORDS)
    stopwords |= word_set("stopwords", "calls") | word_set("stopwords", "fillers")
    _complete(nlp)
    _keep_generations(nlp)
    bound_affixes(nlp)
    resources = {
        "stopwords": sorted(stopwords),
        "lexicon": lexicon_version(),
        "lemmas": lemma.version,
        "components": nlp.pipe_names,
    }
    return SpacyTextPipeline(
        nlp,
        reader=RuleReader(nlp, lemma) if name == RULES else DocReader(nlp),
        fingerprint=_fingerprint(name, nlp, resources),
        stopwords=stopwords,
        phrases=[tuple(phrase.split("_")) for phrase in sorted(word_set("stopwords", "phrases"))],
        is_word=lambda word: word in lemma or word in stopwords,
    )


def _complete(nlp: Language) -> None:
    """Add ftm's rules for whatever the pipeline cannot do itself."""
    has = set(nlp.pipe_names)
    if not has & {"parser", "senter", "sentencizer"}:
        nlp.add_pipe("ftm_sentences")
    if not has & {"lemmatizer", "trainable_lemmatizer"}:
        nlp.add_pipe("ftm_lemmas")
    if not has & {"ner", "entity_ruler", "span_ruler"}:
        nlp.add_pipe("ftm_entities")


def _keep_generations(nlp: Language) -> None:
    """Keep 5G in one piece, which spaCy takes for five grams."""
    for word in word_set("stopwords", "never"):
        parts = [{"ORTH": part} for part in word.replace("/", " / ").split()]
        nlp.tokenizer.add_special_case(word, parts)


def _fingerprint(name: str, nlp: Language, resources: Mapping[str, object]) -> dict[str, str]:
    import spacy

    meta = {key: value for key, value in nlp.meta.items() if key not in _META_OF_THE_INSTALLATION}
    settings = json.dumps([resources, {} if name == RULES else meta], sort_keys=True, default=str)
    tokenizer = nlp.tokenizer.to_bytes(exclude=["vocab"])
    model = f"{nlp.meta['lang']}_{nlp.meta['name']}-{nlp.meta['version']}"
    return {
        "pipeline": RULES if name == RULES else model,
        "text_version": TEXT_VERSION,
        "spacy": ".".join(spacy.__version__.split(".")[:2]),
        "resources": hashlib.sha256(settings.encode() + tokenizer).hexdigest(),
    }
