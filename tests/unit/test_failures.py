"""How one firm's error is told."""

from ftm.core.errors import TopicModelError
from ftm.mapping.failures import describe_failure
from tests.support.business_firms import make_firm


def raised(error: Exception) -> Exception:
    """The error with a traceback, as the per-firm guard sees it."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_type_and_message_are_told_on_one_line() -> None:
    """A known error keeps its message, with line breaks folded."""
    told = describe_failure(raised(TopicModelError("no\n  neighbours")), make_firm(1))
    assert told == "TopicModelError: no neighbours"


def test_a_bug_is_told_with_its_place() -> None:
    """An unexpected error names the file and line it came from."""
    told = describe_failure(raised(IndexError("out of range")), make_firm(1))
    assert told.startswith("IndexError: out of range (test_failures.py:")


def test_a_message_that_quotes_the_call_is_withheld() -> None:
    """Licensed text never reaches a record or a log, whichever of the two texts it quotes."""
    firm = make_firm(1)
    for text in (firm.sentences[3].raw_text, firm.sentences[4].cleaned_text):
        told = describe_failure(raised(ValueError(f"cannot parse: {text}")), firm)
        assert text[:24] not in told
        assert "withheld" in told


def test_long_messages_are_cut() -> None:
    """A record stays readable whatever a library says."""
    assert len(describe_failure(raised(ValueError("x" * 9999)), make_firm(1))) < 300
