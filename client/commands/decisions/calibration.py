"""Fits the temperature that makes a model as certain as it is right. Pure.

Temperature scaling (Guo et al., arXiv 1706.04599) has one parameter: log-probabilities are divided
by it. It does not change which option is best. Its error is told for questions that it was not
fitted to: each half of the questions is judged with the temperature of the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log

BINS = 10
_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures
_GOLDEN = (5**0.5 - 1) / 2
_ROUNDS = 36


@dataclass(frozen=True, slots=True)
class Labelled:
    """The log-probabilities of a question's options by the model, and which one is right."""

    logprobs: tuple[float, ...]
    right: int

    def probabilities(self, temperature: float) -> list[float]:
        highest = max(self.logprobs)
        weights = [exp((value - highest) / temperature) for value in self.logprobs]
        total = fsum(weights)
        return [weight / total for weight in weights]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose probabilities are alike: how many, their mean probability, and how many of
    them are right (a share)."""

    count: int
    probability: float
    right: float


@dataclass(frozen=True, slots=True)
class Fit:
    temperature: float
    accuracy: float
    before: list[Bin]
    after: list[Bin]  # each half with the temperature of the other one


def fit(questions: Sequence[Labelled]) -> Fit:
    """At least two questions."""
    halves = questions[::2], questions[1::2]
    judged = [
        (question, temperature)
        for half, temperature in zip(halves, map(best_temperature, reversed(halves)), strict=True)
        for question in half
    ]
    right = [each.logprobs.index(max(each.logprobs)) == each.right for each in questions]
    return Fit(
        best_temperature(questions),
        sum(right) / len(right),
        bins([(question, 1.0) for question in questions]),
        bins(judged),
    )


def best_temperature(questions: Sequence[Labelled]) -> float:
    """The temperature under which the right answers are the most probable."""

    def loss(exponent: float) -> float:
        temperature = exp(exponent)
        return -fsum(
            log(max(each.probabilities(temperature)[each.right], 1e-300)) for each in questions
        )

    low, high = log(_LOWEST), log(_HIGHEST)
    for _ in range(_ROUNDS):  # golden-section search: the loss has one minimum in 1 / temperature
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return exp((low + high) / 2)


def bins(judged: Sequence[tuple[Labelled, float]]) -> list[Bin]:
    """The best answers, sorted by their probability into bins of the same width."""
    found: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for question, temperature in judged:
        probabilities = question.probabilities(temperature)
        best = max(probabilities)
        right = probabilities.index(best) == question.right
        found[min(BINS - 1, int(best * BINS))].append((best, right))
    return [
        Bin(len(each), fsum(p for p, _ in each) / len(each), sum(r for _, r in each) / len(each))
        if each
        else Bin(0, 0.0, 0.0)
        for each in found
    ]


def expected_error(found: Sequence[Bin]) -> float:
    """The expected calibration error: how far probabilities are from the share that is right."""
    total = sum(each.count for each in found)
    return fsum(each.count * abs(each.probability - each.right) for each in found) / total
