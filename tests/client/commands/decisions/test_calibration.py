"""Temperature scaling on answers whose right temperature is known."""

from __future__ import annotations

import random
from math import log
from xml.etree import ElementTree

import pytest

from cupola.client.commands.decisions.calibration import (
    BINS,
    Labelled,
    best_temperature,
    bins,
    expected_error,
    fit,
)
from cupola.client.commands.decisions.questions import labelled
from cupola.client.commands.decisions.reliability_plot import plot
from cupola.client.errors import ClientError


def answers(temperature: float, count: int = 600) -> list[Labelled]:
    """Of a model that would be calibrated with this temperature."""
    chance = random.Random(1)
    made = []
    for _ in range(count):
        true = [chance.gauss(0, 1.5) for _ in range(3)]
        probabilities = Labelled(tuple(true), 0).probabilities(1.0)
        right = chance.choices(range(3), probabilities)[0]
        made.append(Labelled(tuple(temperature * value for value in true), right))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    made = answers(temperature)
    assert best_temperature(made) == pytest.approx(temperature, rel=0.15)
    found = fit(made)
    assert expected_error(found.after) < 0.07
    if temperature != 1.0:
        assert expected_error(found.before) > expected_error(found.after)


def test_the_error_by_hand() -> None:
    sure = [Labelled((log(0.9), log(0.1)), 0), Labelled((log(0.9), log(0.1)), 1)]
    found = bins([(each, 1.0) for each in sure])
    assert [each.count for each in found] == [0] * (BINS - 1) + [2]
    assert expected_error(found) == pytest.approx(0.4)


def test_the_plot_is_svg() -> None:
    found = fit(answers(2.0, 50))
    tree = ElementTree.fromstring(plot(found.before, found.after))
    assert tree.tag.endswith("svg")
    bars = [each for each in tree.iter() if each.get("class") == "bar"]
    assert len(bars) == sum(each.count > 0 for each in (*found.before, *found.after))
    counts = [each.text for each in tree.iter() if each.get("class") == "count"]
    assert counts == [str(each.count) for each in (*found.before, *found.after) if each.count]
    _, _, width, _ = map(float, tree.get("viewBox", "").split())
    frames = [each for each in tree.iter() if each.get("class") == "frame"]
    assert all(float(each.get("x", 0)) + float(each.get("width", 0)) < width for each in frames)


def test_a_calibration_in_use_is_taken_back() -> None:
    answer = {"type": "predicate", "probability": 0.8}
    made = labelled(answer, False, 2.0, "f")
    assert made.right == 1
    assert made.logprobs == pytest.approx((2 * log(0.8), 2 * log(0.2)))


def test_an_answer_must_be_one_of_the_options() -> None:
    answer = {"type": "choice", "probabilities": [{"value": "true", "probability": 1.0}]}
    assert labelled(answer, "true", 1.0, "f").right == 0
    with pytest.raises(ClientError, match="f: the answer True"):
        labelled(answer, True, 1.0, "f")
