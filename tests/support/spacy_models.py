"""A small spaCy model on disk, so that the code for installed models really runs."""

from __future__ import annotations

from pathlib import Path

import spacy


def build_model(folder: Path) -> Path:
    """A packaged pipeline with a sentencizer, a lemmatizer and an entity ruler."""
    nlp = spacy.blank("en")
    nlp.meta.update({"name": "tiny_web", "version": "1.2.3"})
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("lemmatizer", config={"mode": "lookup"})
    nlp.initialize()
    number = [{"LIKE_NUM": True}]
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "CARDINAL", "pattern": number},
            {"label": "PERCENT", "pattern": [*number, {"ORTH": "%"}]},
            {"label": "MONEY", "pattern": [{"ORTH": "$"}, *number, {"LOWER": "billion"}]},
            {"label": "DATE", "pattern": [{"LOWER": "first"}, {"LOWER": "quarter"}]},
            {"label": "ORG", "pattern": "Acme"},
        ]
    )
    nlp.to_disk(folder / "en_tiny_web")
    return folder / "en_tiny_web"
