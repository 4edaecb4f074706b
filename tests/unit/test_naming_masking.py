"""Masking: what is a name, what stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.naming.masking import Masker

NOBODY: tuple[str, ...] = ()


def mask(*sentences: str, firms: tuple[str, ...] = (), persons: tuple[str, ...] = ()) -> list[str]:
    """The sentences of one item, masked."""
    return Masker(firms, persons).mask(sentences)


@pytest.mark.parametrize(
    ("name", "said", "masked"),
    [
        ("Acme Corp", "Acme's margin and ACME CORP.", "[FIRM]'s margin and [FIRM]."),
        ("Acme Corp", "We at Acme Corp. see it.", "We at [FIRM]. see it."),
        ("Acme, Inc.", "Acmeville is no Acme.", "Acmeville is no [FIRM]."),
        ("AT&T Inc.", "AT&T grew, as AT and T does.", "[FIRM] grew, as [FIRM] does."),
        ("AT&T Inc.", "At the end we win.", "At the end we win."),
        ("Yum! Brands, Inc.", "Yum's units, Yum! Brands' too.", "[FIRM]'s units, [FIRM]' too."),
        (
            "C.H. Robinson Worldwide, Inc.",
            "C.H. Robinson and CH Robinson Worldwide ship.",
            "[FIRM] and [FIRM] ship.",
        ),
        ("Coca Cola Company", "So Coca-Cola grew.", "So [FIRM] grew."),
        ("Johnson & Johnson", "Johnson and Johnson sells.", "[FIRM] sells."),
        ("The Coca-Cola Company", "At Coca-Cola we drink.", "At [FIRM] we drink."),
        (
            "Advanced Micro Devices, Inc.",
            "AMD ships advanced devices.",
            "[FIRM] ships advanced devices.",
        ),
        ("Kennametal Inc.", "So Kennametal and KENNAMETAL grew.", "So [FIRM] and [FIRM] grew."),
        ("Delta Air Lines, Inc.", "Here Delta flies.", "Here [FIRM] flies."),
        ("First Solar Inc", "It is our first solar plant.", "It is our first solar plant."),
        ("First Solar Inc", "At First Solar we build.", "At [FIRM] we build."),
        ("3M Company", "At 3M we sell $3M, 1.3M, 3Mbps.", "At [FIRM] we sell $3M, 1.3M, 3Mbps."),
        ("D-Market Elektronik Hizmetler ve Ticaret A.S.", "D-Market sells.", "[FIRM] sells."),
        ("A (B) [C]+ *Corp", "We go on.", "We go on."),
        ("X", "Model X and x-rays.", "Model X and x-rays."),
        ("", "Nothing is named.", "Nothing is named."),
        ("Inc.", "Inc. is a magazine.", "Inc. is a magazine."),
    ],
)
def test_firms_are_masked_as_people_say_them(name: str, said: str, masked: str) -> None:
    """With and without suffix, possessive, in capitals, by first word and initials."""
    assert mask(said, firms=(name,)) == [masked]


def test_a_firm_called_like_a_word_is_told_from_it_by_the_other_sentences() -> None:
    """Where a sentence begins, what also stands in lower case is the word."""
    said = ["Target margins rose.", "Our target is five percent.", "At Target we sell."]
    assert mask(*said, firms=("Target Corporation",)) == [said[0], said[1], "At [FIRM] we sell."]
    assert mask(said[0], firms=("Target Corporation",)) == ["[FIRM] margins rose."]


@pytest.mark.parametrize("acronym", ["EPS", "CEO", "FFO"])
def test_initials_that_mean_something_else_stay(acronym: str) -> None:
    """A firm whose initials are EPS does not take earnings per share away."""
    name = {"EPS": "Elm Pine Spruce", "CEO": "Cold Eastern Oil", "FFO": "Fir Fig Oak"}[acronym]
    assert mask(f"Our {acronym} rose.", firms=(name,)) == [f"Our {acronym} rose."]


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("Thanks, Greg, and Creed.", "Thanks, [PERSON], and [PERSON]."),
        ("Greg Creed and Greg T. Creed.", "[PERSON] and [PERSON]."),
        ("As GREG CREED said.", "As [PERSON] said."),
        ("Mr. Niccol and Ms Jane Q. Doe left.", "[PERSON] and [PERSON] left."),
        ("Dr. Su's chips.", "[PERSON] chips."),
        ("Bill, go ahead.", "[PERSON], go ahead."),
        ("We bill monthly. Bill rates rose.", "We bill monthly. Bill rates rose."),
        ("The creed of the house.", "The creed of the house."),
    ],
)
def test_persons_are_masked(said: str, masked: str) -> None:
    """Roster names in full, one by one and by short form; anybody with a title."""
    assert mask(said, persons=("Greg Creed", "William J. Ackman")) == [masked]


def test_masked_speakers_and_letters_name_nobody() -> None:
    """An "Unknown Analyst", the operator, one letter, nothing."""
    said = "The Analyst asked an Unknown Executive and A Operator J."
    assert mask(said, persons=("Unknown Analyst", "Operator", "J.", "", "A B")) == [said]


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("We sell iPhone cases.", "We sell [NAME] cases."),
        ("New PowerEdge servers ship.", "New [NAME] servers ship."),
        ("PowerEdge servers ship.", "[NAME] servers ship."),
        ("We sell Soft Knit® shirts.", "We sell [NAME] shirts."),
        ("We sell Lyrica\u2122 too.", "We sell [NAME] too."),
        ("They run Calvin Klein stores.", "They run [NAME] stores."),
        ("CapEx and SaaS, IoT, mRNA, SKUs and EBITDA.",) * 2,
        ("Sales in North America, New South Wales and Hong Kong.",) * 2,
        ("Our Chief Financial Officer spoke at Investor Day.",) * 2,
        ("In the Second Quarter of 2016, on Wall Street.",) * 2,
        ("In Consumer Products and Live Events we grew.",) * 2,
        ("We bought Refine Technology.", "We bought [NAME]."),
        ("Demand in Texas rose by $3.5M in Q2.",) * 2,
    ],
)
def test_products_are_masked_and_places_stay(said: str, masked: str) -> None:
    """Marks, inner capitals and capitalised runs; not places, offices, quarters, acronyms."""
    assert mask(said) == [masked]


def test_a_product_seen_inside_a_sentence_is_known_at_the_beginning_of_another() -> None:
    """Its capital says nothing there, but the other sentence does."""
    assert mask("Calvin Klein grew.") == ["Calvin Klein grew."]
    assert mask("Calvin Klein grew.", "We like Calvin Klein.")[0] == "[NAME] grew."


def test_a_phrase_with_capitals_is_told_from_a_brand_by_the_other_sentences() -> None:
    """A segment's words are also said in lower case."""
    said = ["The Tank Farm unit grew.", "One farm has a tank more."]
    assert mask(*said) == said
    assert mask(said[0]) == ["The [NAME] unit grew."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Acme growth", True),
        ("Growth at AMD", True),
        ("Advanced Micro Devices and others", True),
        ("Advanced devices", False),
        ("Target margins", False),
        ("Backlog growth", False),
    ],
)
def test_a_firm_in_a_made_name_is_noticed(text: str, expected: bool) -> None:
    """But not the word it is called like."""
    names = Masker(("Acme Corp", "Advanced Micro Devices", "Target Corporation"))
    assert names.names_firm(text, ["We missed the target."]) is expected


def test_keywords_lose_names_but_not_words() -> None:
    """A firm's or speaker's name goes, unless the sentences use it as a word."""
    names = Masker(("Acme Corp", "Target Corporation"), ("Greg Creed",))
    keywords = ["acme", "acme store", "target", "creed", "store"]
    assert names.keep_keywords(keywords, ["Our target is high."]) == ["target", "store"]


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_no_name_breaks_the_masking(firm: str, person: str, text: str) -> None:
    """Names hold anything; a regular expression made of them compiles and ends."""
    names = Masker((firm,), (person,))
    assert len(names.mask([text, firm, person])) == 3
    names.names_firm(text, [text])
    names.keep_keywords([text], [text])
