"""How often a model is right about texts that people have rated, by the form of the question.

    python -m loadtests.decisions.labelled hutto_ICWSM_2014 --url URL --permutations 1,2,4

For the folder see ``reviews``. ``ranked right``: how often a good text is found better than a bad
one; 0.5 is chance. ``best right``: how often the most probable option is the right one.
"""

from __future__ import annotations

import argparse
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import httpx2

from cupola.loadtests.decisions.reviews import KINDS, choice, halves, predicate

_GRADES = ("very negative", "negative", "positive", "very positive")
_BORDERS = (-2.5, 0.0, 2.5)  # of the ratings, between two grades


@dataclass(frozen=True, slots=True)
class Answer:
    """``good``: how good the model finds the text. ``best``: the option it finds best."""

    good: float
    best: int
    right: int
    mass: float
    is_good: bool


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the question. ``goodness``: of each option, in order."""

    name: str
    question: dict[str, Any]
    goodness: tuple[float, ...]

    def read(self, answer: dict[str, Any], rating: float) -> Answer:
        yes = answer.get("probability")
        options = answer.get("probabilities", ())
        found = [yes, 1 - yes] if yes is not None else [each["probability"] for each in options]
        good = sum(p * value for p, value in zip(found, self.goodness, strict=True))
        graded = len(self.goodness) > 2
        grade = bisect(_BORDERS, rating) if graded else float(rating > 0)
        right = self.goodness.index(grade)
        best = max(range(len(found)), key=found.__getitem__)
        return Answer(good, best, right, answer["option_mass"], rating > 0)


def forms(kind: str) -> tuple[Form, ...]:
    asked, likes = choice(kind), "reviewer" if kind == "review" else "writer"
    return (
        Form("sentiment, `positive` or `negative`", asked, (1, 0)),
        Form(
            "the same, `negative` first",
            asked | {"choices": list(reversed(asked["choices"]))},
            (0, 1),
        ),
        Form(
            "sentiment, four grades",
            asked | {"choices": [{"value": grade} for grade in _GRADES]},
            (0, 1, 2, 3),
        ),
        *(
            Form(f'"{text}"', {"type": "predicate", "instructions": text}, (1, 0))
            for text in (predicate(kind)["instructions"], f"The {likes} likes it.")
        ),
    )


def ranked_right(answers: Sequence[Answer]) -> float:
    """The area under the ROC curve."""
    good = [answer.good for answer in answers if answer.is_good]
    bad = [answer.good for answer in answers if not answer.is_good]
    return mean((one > other) + 0.5 * (one == other) for one in good for other in bad)


def lines(found: dict[tuple[str, int], list[Answer]]) -> Iterator[str]:
    yield "| question | permutations | ranked right | best right | option mass |"
    yield "|---|---|---|---|---|"
    for (name, permutations), answers in sorted(found.items()):
        right = mean(answer.best == answer.right for answer in answers)
        mass = mean(answer.mass for answer in answers)
        figures = f"{ranked_right(answers):.2f} | {right:.2f} | {mass:.2f}"
        yield f"| {name} | {permutations} | {figures} |"


def main() -> None:
    given = _arguments()
    asked = forms(given.kind)
    found: dict[tuple[str, int], list[Answer]] = {}
    with httpx2.Client(base_url=given.url, timeout=600, trust_env=False) as http:
        for text, rating in halves(given.folder, given.count, given.kind):
            for permutations in map(int, given.permutations.split(",")):
                body = {
                    "model": given.model,
                    "input": text,
                    "questions": [form.question for form in asked],
                    "permutations": permutations,
                }
                told = http.post("/v1/decisions", json=body).raise_for_status().json()["answers"]
                for form, answer in zip(asked, told, strict=True):
                    read = form.read(answer, rating)
                    found.setdefault((form.name, permutations), []).append(read)
    print(*lines(found), sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:5273")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--kind", choices=KINDS, default="review")
    parser.add_argument("--permutations", default="1,2,4")
    return parser.parse_args()


if __name__ == "__main__":
    main()
