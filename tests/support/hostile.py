"""Names and texts that would break a table, a terminal, a path or a spreadsheet."""

from __future__ import annotations

import re

from tests.support.tiny_wrds import TinyWRDS

NAMES = {
    0: "[/bold] & [red]Sons[/] :smile:",
    1: "\x1b]0;owned\x07\x1b[31;1mAnsi\x1b[0m Corp\r\x08\x9b2J",
    2: "Two\nLines\tInc",
    3: "\u202eCBA\u2066 Override\u200f Ltd",
    4: '=HYPERLINK("http://evil.example","click")',
    5: "+1+cmd|' /C calc'!A0",
    6: "<script>alert(1)</script>",
    7: "漢字かな交じり文株式会社" * 20,
    8: "x" * 5_000,
    9: 'a,b;"c"|d\\e\'f',
    10: "e\u0301\u0301\u0301 zero\u200bwidth \U0001f469\u200d\U0001f4bb",
}
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")
"""What a terminal obeys."""

TEXTS = {
    "nul": "Revenue\x00 grew strongly in all our regions this year.",
    "surrogate": "Margins \ud800 improved in the quarter \udfff under review.",
    "right to left": "\u202eThe outlook\u202c is good; הכנסות גדלו מאוד ברבעון הזה.",
    "zero width": "Our re\u200bve\u200cnue\u200d grew\ufeff by a wide margin.",
    "html": "<script>alert('x')</script><p>Costs &amp; cash fell sharply.</p>",
    "formula": '=HYPERLINK("http://x") grew +5% -3 @home strongly.',
    "parquet": "PAR1 margin PAR1 \x15\x04 demand PAR1 fell.",
    "blank": " \t\n\u3000\u200b",
    "empty": "",
    "dots": "." * 20_000,
    "one word": "margin " * 5_000,
    "no blanks": "x" * 50_000,
    "sentences": "We sold more units here. " * 500,
    "combining": "e" + "\u0301" * 10_000,
    "newlines": "\n" * 10_000 + "Demand was strong.",
}


def hostile_wrds() -> TinyWRDS:
    """Firms whose names and texts hold all that PostgreSQL takes (it refuses NUL)."""
    tables = TinyWRDS().vintage()
    kinds = [text for text in TEXTS.values() if "\x00" not in text and "\ud800" not in text]
    for number, name in NAMES.items():
        firm = 100 + number
        tables.firm(firm, companyname=name, headline=f"{name}, Q4 2022 Earnings Call")
        tables.turn(firm, 1, kinds[number % len(kinds)]).turn(firm, 2, "Demand was strong today.")
    return tables
