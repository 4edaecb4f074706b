"""Records as a person meets them: in a notebook, in a REPL, in pandas."""

from datetime import date

from ftm.core.records import FirmTranscriptData, TranscriptData, TranscriptSentence

SENTENCES = [
    TranscriptSentence(f"7_9_{n:04d}", f"Margins <rose> {n}.", "margin rise", "Executives", n)
    for n in range(30)
]
FIRM = FirmTranscriptData(
    "7", "Firm & Co", SENTENCES, {"permno": 10001, "earnings_call_date": date(2023, 2, 1)}
)
DATA = TranscriptData({"7": FIRM})


def test_what_a_repl_prints_is_one_short_line() -> None:
    """A quarter of transcripts does not flood the terminal."""
    assert repr(DATA) == "<1 firm, 30 sentences>"
    assert repr(FIRM) == "<Firm & Co (7): 30 sentences>"


def test_what_a_notebook_shows_is_a_table_with_the_text_escaped() -> None:
    """Transcript text is data: markup in it is shown, not run."""
    page = FIRM._repr_html_()
    assert page.count("<tr>") == 11
    assert "Margins &lt;rose&gt; 0." in page
    assert "Firm &amp; Co" in DATA._repr_html_()


def test_pandas_gets_a_row_per_sentence_with_the_firm_in_front() -> None:
    """Identifiers first, then the sentence; the numbers keep their types."""
    frame = DATA.to_pandas()
    assert list(frame.columns[:4]) == ["firm_id", "firm_name", "permno", "earnings_call_date"]
    assert frame.shape[0] == 30
    assert frame["permno"].dtype == "int64"
    assert FIRM.to_pandas().equals(frame)


def test_no_firms_give_an_empty_frame() -> None:
    """Nothing in, nothing out, no error."""
    assert TranscriptData({}).to_pandas().empty
    assert TranscriptData({}).n_sentences == 0
