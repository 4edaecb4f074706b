"""The script of one synthetic call: who says which sentence, about what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from random import Random

from ftm.demo.firms import Firm, Person
from ftm.demo.phrasebook import Phrasebook, Speaker

OPERATOR = Person(1, "Operator", "operator")
PRESENTATION_OPERATOR, PRESENTER, QUESTION, ANSWER, QA_OPERATOR = 1, 2, 3, 4, 7
"""transcriptcomponenttypeid, as in WRDS."""

N_SENTENCES = 400
"""Sentences of an average call, frames included."""

_FRAME_SENTENCES = 115
_GENERAL_SHARE = 0.06
_PARAGRAPH_SENTENCES = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence: its kind (core.schemas.KINDS) and its planted topic, None if it has none."""

    text: str
    kind: str = "content"
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one person says before somebody else does; at least one line."""

    component_type: int
    person: Person
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The component as WRDS delivers it: sentences, a newline after every sixth."""
        step = _PARAGRAPH_SENTENCES
        texts = [line.text for line in self.lines]
        return "\n".join(" ".join(texts[i : i + step]) for i in range(0, len(texts), step))


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a call is about.

    Args:
        firm: who holds it.
        topics: planted topics, at least one.
        fiscal: like `Q4 2022`.
        day: of the call.
        n_sentences: about so many sentences in all.
    """

    firm: Firm
    topics: tuple[str, ...]
    fiscal: str
    day: date
    n_sentences: int = N_SENTENCES


def write_script(
    plan: CallPlan, rng: Random, *, analysts: Sequence[Person], book: Phrasebook
) -> list[Turn]:
    """The turns of a call, in order."""
    return _Writer(plan, rng, analysts, book).turns()


class _Writer:
    """Holds the speakers and the weights of topics while a call is written."""

    def __init__(
        self, plan: CallPlan, rng: Random, analysts: Sequence[Person], book: Phrasebook
    ) -> None:
        self._rng = rng
        self._topics = plan.topics
        self._weights = [rng.gammavariate(4.0, 1.0) for _ in plan.topics]
        self._relations, self._ceo, self._cfo, self._coo = plan.firm.executives
        self._analysts = analysts
        size = max(40, round(rng.gauss(plan.n_sentences, 0.15 * plan.n_sentences)))
        self._budget = max(12, round(size - _FRAME_SENTENCES * min(1.0, size / N_SENTENCES)))
        self._say = Speaker(rng, _filling(plan, rng), book)

    def turns(self) -> list[Turn]:
        half = self._budget // 2
        return list(chain(self._opening(), self._presentation(half), self._questions(half)))

    def _opening(self) -> Iterator[Turn]:
        say = self._say
        operator = _lines("greeting", [say.frame("greeting", "operator")])
        given = {"name": self._relations.name, "title": self._relations.role}
        operator += _lines("procedural", say.all_frames("procedural", "operator_open", **given))
        yield Turn(PRESENTATION_OPERATOR, OPERATOR, operator)
        names = {"name": self._ceo.name, "other": self._cfo.name}
        yield Turn(
            PRESENTER,
            self._relations,
            _lines("greeting", [say.frame("greeting", "relations")])
            + _lines("procedural", say.all_frames("procedural", "introductions", **names)[1:4])
            + _lines("safe_harbor", say.some_frames("safe_harbor", "sentences", 4))
            + _lines("non_gaap_notice", say.some_frames("non_gaap_notice", "sentences", 2))
            + _lines("procedural", [say.frame("procedural", "handover", first=self._ceo.first)]),
        )

    def _presentation(self, budget: int) -> Iterator[Turn]:
        speakers = [self._ceo, self._coo, self._cfo]
        before = self._relations
        for i, person in enumerate(speakers):
            hello = self._say.frame("greeting", "executive", first=before.first)
            body = self._paragraphs(budget // len(speakers))
            yield Turn(
                PRESENTER, person, (*_lines("greeting", [hello]), *body, self._ending(speakers, i))
            )
            before = person

    def _ending(self, speakers: Sequence[Person], i: int) -> Line:
        if i + 1 == len(speakers):
            return Line(self._say.frame("procedural", "to_questions"), "procedural")
        text = self._say.frame("procedural", "handover", first=speakers[i + 1].first)
        return Line(text, "procedural")

    def _questions(self, budget: int) -> Iterator[Turn]:
        queue = self._say.all_frames("procedural", "operator_queue")
        yield Turn(QA_OPERATOR, OPERATOR, _lines("procedural", queue))
        while budget > 0:
            for turn in self._exchange(self._rng.choice(self._analysts)):
                budget -= sum(line.kind == "content" for line in turn.lines)
                yield turn
        farewell = self._say.some_frames("greeting", "farewell", 2)
        yield Turn(ANSWER, self._ceo, _lines("greeting", farewell))
        close = self._say.all_frames("procedural", "operator_close")
        yield Turn(QA_OPERATOR, OPERATOR, _lines("procedural", close))

    def _exchange(self, analyst: Person) -> Iterator[Turn]:
        """An analyst is called, asks, is answered, asks again at times, and says thanks."""
        say, rng = self._say, self._rng
        called = [
            say.frame("procedural", "operator_next", analyst=analyst.name, broker=analyst.role),
            say.frame("procedural", "operator_go"),
        ]
        yield Turn(QA_OPERATOR, OPERATOR, _lines("procedural", called))
        before = _lines("greeting", [say.frame("greeting", "analyst")])
        for _ in range(rng.randint(1, 2)):
            topic = self._topic()
            asked = tuple(Line(say.question(topic), "content", topic) for _ in range(2))
            yield Turn(QUESTION, analyst, before[:1] + asked)
            yield Turn(ANSWER, rng.choice((self._ceo, self._cfo)), self._answer(analyst, topic))
            before = _lines("procedural", [say.frame("procedural", "thanks")])
        yield Turn(QUESTION, analyst, before)

    def _answer(self, analyst: Person, topic: str) -> tuple[Line, ...]:
        first = self._say.frame("procedural", "good_question", first=analyst.first)
        reply = Line(self._say.reply(topic), "content", topic)
        more = [self._content(topic) for _ in range(self._rng.randint(4, 10))]
        return (Line(first, "procedural"), reply, *more)

    def _paragraphs(self, budget: int) -> list[Line]:
        lines: list[Line] = []
        while len(lines) < budget:
            topic = self._topic()
            wanted = min(self._rng.randint(4, 9), budget - len(lines))
            lines.extend(self._content(topic) for _ in range(wanted))
        return lines

    def _content(self, topic: str) -> Line:
        if self._rng.random() < _GENERAL_SHARE:
            return Line(self._say.general())
        return Line(self._say.statement(topic), "content", topic)

    def _topic(self) -> str:
        return self._rng.choices(self._topics, self._weights)[0]


def _lines(kind: str, texts: Sequence[str]) -> tuple[Line, ...]:
    return tuple(Line(text, kind) for text in texts)


def _filling(plan: CallPlan, rng: Random) -> dict[str, str | tuple[str, ...]]:
    """What every sentence of this call may mention."""
    people = plan.firm.executives[1:]
    return {
        "company": plan.firm.name.rstrip("."),
        "fiscal": plan.fiscal,
        "year": str(plan.day.year),
        "this_year": str(plan.day.year),
        "date": f"{plan.day:%B} {plan.day.day}",
        "daytime": rng.choice(("morning", "afternoon")),
        "name": tuple(person.name for person in people),
        "surname": tuple(person.surname for person in people),
    }
