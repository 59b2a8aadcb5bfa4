"""The answer of POST /v1/systemone.

``option_mass`` and ``temperature`` are further fields, which other servers of the protocol have as
well.
"""

from __future__ import annotations

import msgspec

from cupola.gateway.core.distribution import Distribution
from cupola.gateway.decisions.systemone_body import Levels, NamedChoice, NamedQuestion, Noul
from cupola.gateway.generation.decider import Decided


class NoulAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="noul"):
    noul: float
    temperature: float
    option_mass: float


class NamedChoiceAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="choice"):
    choice: str
    confidence: float
    probabilities: dict[str, float]
    temperature: float
    option_mass: float


class LevelsAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="score"):
    """Levels are numbered from 0."""

    score: float
    confidence: float
    probabilities: dict[str, float]
    legend: dict[str, str]
    temperature: float
    option_mass: float


NamedAnswer = NoulAnswer | NamedChoiceAnswer | LevelsAnswer


class SystemOneUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int = 0


class SystemOneAnswer(msgspec.Struct, frozen=True):
    model: str
    answers: dict[str, NamedAnswer]
    usage: SystemOneUsage


def named_answer_of(questions: dict[str, NamedQuestion], decided: Decided) -> SystemOneAnswer:
    answers = {
        name: _answer(question, found, decided.temperature)
        for (name, question), found in zip(questions.items(), decided.found, strict=True)
    }
    return SystemOneAnswer(decided.model, answers, SystemOneUsage(decided.usage.prompt_tokens))


def _answer(question: NamedQuestion, found: Distribution, temperature: float) -> NamedAnswer:
    each = found.probabilities
    match question:
        case Noul():
            return NoulAnswer(noul=each[0], temperature=temperature, option_mass=found.mass)
        case NamedChoice():
            names = list(question.criteria)
            return NamedChoiceAnswer(
                choice=names[found.best],
                confidence=found.confidence,
                probabilities=dict(zip(names, each, strict=True)),
                temperature=temperature,
                option_mass=found.mass,
            )
        case Levels():
            numbers = [*map(str, range(len(each)))]
            return LevelsAnswer(
                score=found.expected(range(len(each))),
                confidence=found.confidence,
                probabilities=dict(zip(numbers, each, strict=True)),
                legend=dict(zip(numbers, question.criteria, strict=True)),
                temperature=temperature,
                option_mass=found.mass,
            )
