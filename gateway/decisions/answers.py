"""The answer of POST /v1/decisions. ``option_mass`` and ``temperature`` are Cupola's own fields."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cupola.gateway.core.distribution import Distribution
from cupola.gateway.decisions.body import ChoiceQuestion, Predicate, Score
from cupola.gateway.generation.decider import Decided
from cupola.scheduler.protocol.outputs import Usage


class PredicateAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="predicate"):
    name: str | None
    probability: float
    option_mass: float


class ValueProbability(msgspec.Struct, frozen=True):
    value: str | bool
    probability: float


class ChoiceAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="choice"):
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ValueProbability]
    option_mass: float


class LevelProbability(msgspec.Struct, frozen=True):
    label: str
    value: int
    probability: float


class ScoreAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="score"):
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]
    option_mass: float


Answer = PredicateAnswer | ChoiceAnswer | ScoreAnswer


class InputTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class DecisionUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> DecisionUsage:
        read, cached = usage.prompt_tokens, usage.cached_tokens
        details = InputTokensDetails(cached, read - cached)
        return cls(read, details, 0, OutputTokensDetails(), read)


class DecisionAnswer(msgspec.Struct, frozen=True):
    """``temperature``: of the model's calibration, which the probabilities include."""

    answers: list[Answer]
    model: str
    usage: DecisionUsage
    temperature: float


def answer_of(
    questions: Iterable[Predicate | ChoiceQuestion | Score], decided: Decided
) -> DecisionAnswer:
    answers = [_answer(*pair) for pair in zip(questions, decided.found, strict=True)]
    usage = DecisionUsage.of(decided.usage)
    return DecisionAnswer(answers, decided.model, usage, decided.temperature)


def _answer(question: Predicate | ChoiceQuestion | Score, found: Distribution) -> Answer:
    each = found.probabilities
    match question:
        case Predicate():
            return PredicateAnswer(name=question.name, probability=each[0], option_mass=found.mass)
        case ChoiceQuestion():
            values = [candidate.value for candidate in question.choices]
            return ChoiceAnswer(
                name=question.name,
                choice=values[found.best],
                confidence=found.confidence,
                probabilities=[*map(ValueProbability, values, each)],
                option_mass=found.mass,
            )
        case Score():
            numbers = range(len(each))
            labels = [level.label for level in question.levels]
            return ScoreAnswer(
                name=question.name,
                score=found.expected(numbers),
                confidence=found.confidence,
                probabilities=[*map(LevelProbability, labels, numbers, each)],
                option_mass=found.mass,
            )
