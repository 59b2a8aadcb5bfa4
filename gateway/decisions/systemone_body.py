"""The body of POST /v1/systemone: a state, and named questions about it.

The protocol lets a question go without instructions: its options say what is asked.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from cupola.gateway.core.fields import MOST_OPTIONS, ScoringRequest
from cupola.gateway.decisions.body import MOST_QUESTIONS, by_type
from cupola.gateway.decisions.texts import AnyAsked, AnyText
from cupola.gateway.generation.decider import DecisionRequest
from cupola.gateway.http.validation import Body, invalid
from cupola.scheduler.protocol.tasks import Option, Question, QuestionKind

MOST_LEVELS = 10


class Meanings(Body):
    """What yes and what no means."""

    true: AnyText | None = None
    false: AnyText | None = None


class Noul(Body):
    type: Literal["noul"]
    instructions: AnyAsked | None = None
    criteria: Meanings | None = None

    @model_validator(mode="after")
    def _asks(self) -> Noul:
        if self.instructions is None and self.criteria in (None, Meanings()):
            raise invalid("Give 'instructions', or 'criteria' for yes and no", "instructions")
        return self

    def question(self) -> Question:
        meanings = self.criteria or Meanings()
        told = (("Yes", meanings.true), ("No", meanings.false))
        lines = [f"{word} means: {meaning}" for word, meaning in told if meaning]
        asked = self.instructions or "Yes or no?"
        return Question(QuestionKind.PREDICATE, "\n".join([asked, *lines]))


class NamedChoice(Body):
    """``criteria``: the options, each with its description or null."""

    type: Literal["choice"]
    instructions: AnyAsked | None = None
    criteria: Annotated[dict[str, AnyText | None], Field(min_length=1, max_length=MOST_OPTIONS)]

    @model_validator(mode="after")
    def _named(self) -> NamedChoice:
        if not all(name.strip() for name in self.criteria):
            raise invalid("An option needs a name", "criteria")
        return self

    def question(self) -> Question:
        options = (Option(name, text or "") for name, text in self.criteria.items())
        asked = self.instructions or "Which option fits best?"
        return Question(QuestionKind.CHOICE, asked, tuple(options))


class Levels(Body):
    """``criteria``: the levels in order, the lowest first."""

    type: Literal["score"]
    instructions: AnyAsked | None = None
    criteria: Annotated[list[AnyAsked], Field(min_length=1, max_length=MOST_LEVELS)]

    def question(self) -> Question:
        options = (Option(str(level), text) for level, text in enumerate(self.criteria))
        asked = self.instructions or "Which level fits best?"
        return Question(QuestionKind.SCORE, asked, tuple(options))


NamedQuestion = Annotated[
    Annotated[Noul, Tag("<noul>")]
    | Annotated[NamedChoice, Tag("<choice>")]
    | Annotated[Levels, Tag("<score>")],
    by_type("noul", "choice", "score"),
]


class SystemOneRequest(ScoringRequest):
    state: AnyText
    questions: Annotated[dict[str, NamedQuestion], Field(min_length=1, max_length=MOST_QUESTIONS)]

    def wanted(self) -> DecisionRequest:
        names = {f"questions[{n}]": f"questions.{name}" for n, name in enumerate(self.questions)}
        return DecisionRequest(
            self.model,
            ({"role": "user", "content": self.state},),
            tuple(question.question() for question in self.questions.values()),
            self.permutations,
            self.cache_salt or "",
            self.ttl,
            {"prompt": "state", **names},
        )
