"""One suite for every text pipeline: the rules, and a spaCy model loaded from disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from ftm.core.errors import ModelNotFoundError, PreprocessingError
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTurns
from ftm.core.schemas import SKIP_REASONS
from ftm.demo.synthetic import make_quarters
from ftm.demo.wrds_tables import COMPONENT
from ftm.text.base import FirmText
from ftm.text.characters import readable
from ftm.text.lemmas import lemma_table
from ftm.text.pipelines import load_pipeline
from ftm.text.spacy_pipeline import SpacyTextPipeline
from ftm.text.tokens import DocReader, RuleReader
from tests.support.calls import ANALYST, CALL, OPERATOR, firm, turn
from tests.support.real_calls import real_calls_folder
from tests.support.spacy_models import build_model


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy model on disk."""
    return build_model(tmp_path_factory.mktemp("models"))


def load(name: str) -> SpacyTextPipeline:
    """The pipeline as its own class, whose `split` and `nlp` tests look into."""
    pipeline = load_pipeline(name)
    assert isinstance(pipeline, SpacyTextPipeline)
    return pipeline


@pytest.fixture(scope="module", params=["rules", "model"])
def pipeline(request: pytest.FixtureRequest, model_path: Path) -> SpacyTextPipeline:
    """Every implementation in turn."""
    return load("rules" if request.param == "rules" else str(model_path))


RULES = load("rules")


def cleaned(text: FirmText) -> str:
    """The cleaned sentences in one line."""
    return " | ".join(sentence.cleaned_text for sentence in text.sentences)


def test_a_call_becomes_numbered_sentences(pipeline: SpacyTextPipeline) -> None:
    """Positions count from 0, ids follow them, turns map to first and last position."""
    text = pipeline.process(CALL)
    assert [s.position for s in text.sentences] == list(range(len(text.sentences)))
    assert [s.sentence_id for s in text.sentences][:2] == ["7_99_0000", "7_99_0001"]
    assert [s.raw_text for s in text.sentences][:3] == [
        "Organic sales grew 5% to $1.2 billion in the first quarter of 2023.",
        "Pricing offset higher freight costs in Europe.",
        "How should we think about gross margin in the second half?",
    ]
    assert text.spans[1] == (0, 1)
    assert 0 not in text.spans
    assert text.sentences[2].speaker_type == ANALYST
    assert text.skip_reason is None
    assert text.error is None


def test_cleaned_text_is_lemmas_without_names_numbers_and_stopwords(
    pipeline: SpacyTextPipeline,
) -> None:
    """The roster's names go in every pipeline, by surname and by given name."""
    words = set(cleaned(pipeline.process(CALL)).replace("|", " ").split())
    assert {"organic", "freight", "cost", "gross", "margin", "europe"} <= words
    assert not words & {"ann", "market", "5", "billion", "2023", "thank", "operator", "first", "."}


def test_masked_names_hide_no_words(pipeline: SpacyTextPipeline) -> None:
    """'Unknown Executive' makes neither 'unknown' nor 'executive' a person."""
    text = pipeline.process(firm("Our executive team faces unknown Executive risks."))
    assert cleaned(text) == "executive team face unknown executive risk"


def test_a_name_that_is_a_word_counts_only_where_it_is_a_name() -> None:
    """'Price increases helped' keeps its price though a Mr. Price is on the call."""
    text = RULES.process(
        firm(turn("Price increases helped margins. Price, please explain volumes to Mark Price.",
                  name="Mark Price"))
    )  # fmt: skip
    assert cleaned(text) == "price increase help margin | explain volume"


def test_short_forms_of_the_speakers_names_are_names() -> None:
    """Robert is called Rob, at the start of a sentence too, unless the call has the word."""
    said = turn(
        "Freight fell. Rob covers margins with Dan. Mark sees strong demand.", name="Mark Hill"
    )
    other = [turn("Gross margins rose.", name=name) for name in ("Robert Zorn", "Daniel S. Quist")]
    assert cleaned(RULES.process(firm(said, *other))) == (
        "freight fall | cover margin | strong demand | gross margin rise | gross margin rise"
    )
    marked = firm(turn("Mark sees strong demand. We mark up prices.", name="Mark Hill"))
    assert cleaned(RULES.process(marked)) == "mark strong demand | mark price"


def test_names_of_a_call_without_a_roster_are_found_where_they_are_introduced() -> None:
    """By thanks, by handing over, by office and by the operator; ordinary words are not names."""
    text = RULES.process(
        firm(
            turn("From the line of Priya Nayar with Acme Bank.", kind=OPERATOR, name="Operator"),
            "Our CFO, Leopoldo Alvear, is here. I turn the call over to Juan for margins.",
            "Thank you, Cassandra. Thanks, Europe grew strongly. Leopoldo expects growth.",
            "Nayar asks about Juan and Cassandra and gross margins.",
            "Energy costs rose. Oriol, would you elaborate? Marco, maybe you add to Oriol's point.",
        )
    )
    words = set(cleaned(text).replace("|", " ").split())
    assert not words & {"priya", "nayar", "leopoldo", "alvear", "juan", "cassandra"}
    assert not words & {"oriol", "marco"}
    assert {"europe", "margin", "growth", "gross"} <= words


def test_fillers_are_no_keywords() -> None:
    """Discourse markers go wherever they stand, vague quantities only where they are vague."""
    text = RULES.process(
        firm(
            "Uh, obviously freight is kind of a lot cheaper, et cetera, and maybe margins, you"
            " know, actually rose a bit, I guess.",
            "Homebuilders own lots; parcels go through a sort facility; payment in kind.",
            "It bit into margins.",
        )
    )
    assert cleaned(text) == (
        "freight cheap margin rise | homebuilder lot parcel sort facility payment kind | bit margin"
    )


def test_generations_of_mobile_networks_are_words(pipeline: SpacyTextPipeline) -> None:
    """5G is a topic, 5 is a number."""
    text = pipeline.process(firm("We sell 5G phones and 5G-enabled chips, 4G/5G, to 5 carriers."))
    assert "5g phone" in cleaned(text)
    assert cleaned(text).split().count("5g") == 3
    assert "5" not in cleaned(text).split()


def test_transcribers_marks_leave_the_cleaned_text_only(pipeline: SpacyTextPipeline) -> None:
    """[indiscernible] stays in the raw text; words an editor restored stay in both."""
    spoken = "The [indiscernible] pipeline and (multiple speakers) [OTC] markets <br> grew strongly"
    text = pipeline.process(firm(spoken))
    assert text.sentences[0].raw_text == spoken
    assert cleaned(text) == "pipeline otc market grow strongly"


def test_sentences_with_one_word_left_are_dropped(pipeline: SpacyTextPipeline) -> None:
    """Neither 'Thank you.' nor a single word makes a sentence."""
    text = pipeline.process(firm("Thank you. Margins. Gross margins improved."))
    assert [s.raw_text for s in text.sentences] == ["Gross margins improved."]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((), "no_components"),
        (("", " \n", "\u00a0\u200b"), "no_text"),
        ((turn("Please go ahead with it.", kind=OPERATOR), ""), "operator_only"),
        (("Thank you.", "Yes."), "no_sentences"),
    ],
)
def test_a_firm_without_sentences_says_why(
    pipeline: SpacyTextPipeline, turns: tuple[Any, ...], reason: str
) -> None:
    """Every reason is one the manifest knows."""
    text = pipeline.process(firm(*turns))
    assert (text.sentences, text.spans, text.skip_reason) == ((), {}, reason)
    assert reason in SKIP_REASONS


@pytest.mark.parametrize(
    "hostile",
    [
        "Revenue\x00 grew\x07 strongly.",
        "Revenue \ud800 grew \udfff strongly.",
        "Rev\u200benue gr\u00adew str\ufeffongly.",
        "\u202bRevenue grew\u202c strongly \u05e9\u05dc\u05d5\u05dd.",
        "<div class='x'>Revenue &amp; growth</div><script>alert(1)</script> strongly",
        "Revenue\r\ngrew\u2028strongly\x85organic growth continued",
        "Revenue" + " grew strongly" * 400,
    ],
)
def test_hostile_text_is_made_safe(pipeline: SpacyTextPipeline, hostile: str) -> None:
    """Whatever comes in, sentences encode as UTF-8, have no NUL and are not empty."""
    text = pipeline.process(firm(hostile, "Organic growth continued."))
    assert text.sentences
    for sentence in text.sentences:
        sentence.raw_text.encode("utf-8")
        assert "\0" not in sentence.raw_text
        assert sentence.raw_text == " ".join(sentence.raw_text.split())
        assert sentence.raw_text
        assert len(sentence.cleaned_text.split()) >= 2


def test_a_component_longer_than_spacy_takes_is_cut(pipeline: SpacyTextPipeline) -> None:
    """SpaCy refuses over a million characters at once; a firm of that size is read all the same."""
    text = pipeline.process(firm("Organic revenue growth continued. " * 31_000))
    assert len(text.sentences) == 31_000
    assert text.spans[0] == (0, 30_999)


def test_the_same_firm_gives_the_same_text_whatever_came_before(
    pipeline: SpacyTextPipeline,
) -> None:
    """Inside a memory zone and outside, first or last."""
    before = pipeline.process(CALL)
    others = [firm(f"Zorg{n}x quux{n} blorks{n} grew.", firm_id=str(n)) for n in range(20)]
    list(map(pipeline.process, others))
    limit, pipeline._max_strings = pipeline._max_strings, 0
    zoned = [pipeline.process(CALL), pipeline.process(others[3]), pipeline.process(CALL)]
    pipeline._max_strings = limit
    assert zoned[0] == zoned[2] == before
    assert zoned[1] == pipeline.process(others[3])


def test_the_vocabulary_stops_growing(model_path: Path) -> None:
    """Once its allowance is used up, new words of a firm go with the firm."""
    pipeline = load("rules")
    pipeline._max_strings = 0
    pipeline.process(CALL)
    size = len(pipeline.nlp.vocab.strings), len(pipeline._words)
    for n in range(50):
        pipeline.process(firm(*(f"Novel{n}q{k} words{n}q{k} appear." for k in range(20))))
    assert (len(pipeline.nlp.vocab.strings), len(pipeline._words)) == size


def test_every_turn_is_parsed_once(model_path: Path) -> None:
    """Sentences, lemmas and entities come from the same Doc; operator turns are not parsed."""
    seen: list[str] = []

    @Language.component("count_docs")
    def count(doc: Doc) -> Doc:
        seen.append(doc.text)
        return doc

    pipeline = load(str(model_path))
    pipeline.nlp.add_pipe("count_docs")
    pipeline.process(CALL)
    assert seen == [t.raw_text for t in CALL.turns if t.speaker_type != OPERATOR]


def assert_read_alike(calls: Iterable[Sequence[str]]) -> None:
    """The rules on tokens, and as components whose annotations are read back."""
    for texts in calls:
        by_rules = RuleReader(RULES.nlp, lemma_table()).read(texts)
        by_docs = DocReader(RULES.nlp).read(texts)
        for name in ("text", "starts", "ends"):
            assert getattr(by_rules, name) == getattr(by_docs, name)
        for name in ("orths", "offsets", "in_entity"):
            assert list(getattr(by_rules, name)) == list(getattr(by_docs, name))
        tokens = range(len(by_rules.orths))
        assert [*map(by_rules.lemma_at, tokens)] == [*map(by_docs.lemma_at, tokens)]


def test_the_rules_read_tokens_as_their_spacy_components_do() -> None:
    """The same sentences, lemmas and entities without the Docs' annotations."""
    rows = make_quarters(10, [Quarter(2023, 1)]).tables[COMPONENT].to_pylist()
    assert_read_alike([[row["componenttext"] or "" for row in rows]])
    assert_read_alike([[], [""], ["", " \n", "One. Two."], ["No. 5 rose", "", "5% more", "May"]])


@pytest.mark.real_calls
def test_the_rules_read_real_calls_as_their_spacy_components_do() -> None:
    """Numbers, names and punctuation as people said them."""
    table = pq.read_table(real_calls_folder() / "ciq.ciqtranscriptcomponent.parquet")
    texts = [readable(text or "") for text in table["componenttext"].to_pylist()[::10]]
    assert_read_alike([texts])


def test_a_broken_turn_is_an_error_of_its_firm(pipeline: SpacyTextPipeline) -> None:
    """The error names the firm and the transcript."""
    with pytest.raises(PreprocessingError, match="'7', transcript '99'"):
        pipeline.process(firm(turn(None)))  # type: ignore[arg-type]


def test_the_fingerprint_is_that_of_the_pipeline(model_path: Path) -> None:
    """Equal for two loads, different between pipelines, free of paths and of ftm's version."""
    rules, model = load("rules"), load(str(model_path))
    assert rules.fingerprint == load("rules").fingerprint
    assert rules.fingerprint["pipeline"] == "rules"
    assert model.fingerprint["pipeline"] == "en_tiny_web-1.2.3"
    assert rules.fingerprint["resources"] != model.fingerprint["resources"]
    assert set(rules.fingerprint) == {"pipeline", "text_version", "spacy", "resources"}


def test_another_version_of_a_model_has_another_fingerprint(
    model_path: Path, tmp_path: Path
) -> None:
    """The model's version counts even when its name and components are the same."""
    nlp = spacy.load(model_path)
    nlp.meta["version"] = "1.2.4"
    nlp.to_disk(tmp_path / "newer")
    newer = load(str(tmp_path / "newer")).fingerprint
    assert newer["resources"] != load(str(model_path)).fingerprint["resources"]


def test_an_unknown_model_says_how_to_install_it() -> None:
    """The message names the value and the command."""
    with pytest.raises(ModelNotFoundError, match="python -m spacy download en_nothing_sm"):
        load_pipeline("en_nothing_sm")


@pytest.mark.parametrize("module", ["ftm.text", "ftm.text.base", "ftm.text.kinds"])
def test_map_containers_need_no_spacy(module: str) -> None:
    """A fresh process imports what the map stage uses, with no spaCy and no numpy-heavy library."""
    code = f"import sys, {module}; sys.exit('spacy' in sys.modules or 'thinc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WORDS = ["Revenue", "grew", "Inc.", "U.S.", "5%", "$1.2", "we", "[indiscernible]", "no", "a.m."]
SPEECH = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_categories=()), max_size=8)),
    max_size=25,
).map(" ".join)


@settings(max_examples=150)
@given(SPEECH)
def test_splitting_loses_no_character(text: str) -> None:
    """All non-blank characters of a turn are in its sentences, in order."""
    assert "".join("".join(RULES.split(text)).split()) == "".join(readable(text).split())


@settings(max_examples=50)
@given(st.lists(SPEECH, max_size=4))
def test_kept_sentences_are_spoken_sentences_in_order(texts: list[str]) -> None:
    """Nothing is invented or moved, and a second run gives the same."""
    made: FirmTurns = firm(*texts)
    text = RULES.process(made)
    spoken = iter([s for t in texts for s in RULES.split(t)])
    assert all(sentence.raw_text in spoken for sentence in text.sentences)
    assert RULES.process(made) == text
