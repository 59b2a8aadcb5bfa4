"""From the words of a command line to questions, and from a file to inputs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from math import log
from typing import Any

from cupola.client.commands.decisions.calibration import Labelled
from cupola.client.errors import ClientError

_LEAST = 1e-300  # a smaller probability has no logarithm


def question(text: str, choices: str | None, levels: str | None) -> dict[str, Any]:
    """A question as POST /v1/decisions has it: about choices, about levels, or yes and no."""
    if choices is not None and levels is not None:
        raise ClientError("--choices and --levels exclude each other")
    if choices is not None:
        values = [{"value": value} for value in _split(choices, "--choices")]
        return {"type": "choice", "instructions": text, "choices": values}
    if levels is not None:
        labels = [{"label": label} for label in _split(levels, "--levels")]
        return {"type": "score", "instructions": text, "levels": labels}
    return {"type": "predicate", "instructions": text}


def inputs(lines: Iterable[str], name: str) -> Iterator[Any]:
    """The inputs in a file of JSON lines: texts, lists of messages, or objects with an ``input``.

    ``name``: of the file, for errors.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ClientError(f"{name}, line {number} is not JSON: {error}") from None
        given = value.get("input") if isinstance(value, dict) else value
        if not isinstance(given, str | list) or not given:
            hint = 'A line is a text, such as "It rains.", or an object with an "input"'
            raise ClientError(f"{name}, line {number} has no input", hint)
        yield given


def probabilities(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """The options of an answer and their probabilities, in the order of the question."""
    if answer["type"] == "predicate":
        yes = float(answer["probability"])
        return [("yes", yes), ("no", 1 - yes)]
    key = "label" if answer["type"] == "score" else "value"
    return [(str(each[key]), float(each["probability"])) for each in answer["probabilities"]]


def labelled(answer: dict[str, Any], right: Any, temperature: float, place: str) -> Labelled:
    """What the model thought before its calibration to ``temperature``.

    ``right``: the value, the label, or for a predicate true or false. ``place``: for errors.
    """
    values: list[Any] = [True, False]
    if answer["type"] != "predicate":
        key = "label" if answer["type"] == "score" else "value"
        values = [each[key] for each in answer["probabilities"]]
    matching = [n for n, value in enumerate(values) if (type(value), value) == (type(right), right)]
    if not matching:
        raise ClientError(f"{place}: the answer {right!r} is none of {values}")
    logprobs = (temperature * log(max(p, _LEAST)) for _, p in probabilities(answer))
    return Labelled(tuple(logprobs), matching[0])


def _split(given: str, option: str) -> list[str]:
    texts = [text.strip() for text in given.split(",")]
    if len(texts) < 2 or not all(texts):
        raise ClientError(f"{option} needs two or more texts with commas between them")
    return texts
