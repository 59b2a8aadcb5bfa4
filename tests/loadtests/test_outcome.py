"""The figures of a simulation, for requests whose times are known."""

from __future__ import annotations

import math

import pytest

from cupola.loadtests.simulate.outcome import Finished, Simulated
from cupola.loadtests.simulate.request import SimulatedRequest

OVERHEAD = 0.5


def result(*requests: tuple[float, float | None, float, int]) -> Simulated:
    """Of requests that came, had their first text and ended at these seconds."""
    found = Simulated()
    for number, (since, first, ended, tokens) in enumerate(requests):
        request = SimulatedRequest(number, since, 10, tokens, first=first)
        found.add(request, ended, OVERHEAD)
    return found


def test_a_request_is_kept_with_what_lies_outside_its_worker() -> None:
    found = result((1.0, 2.0, 6.5, 5))
    assert found.answered == 1
    assert found.finished == [Finished(1.0, 2.5, 6.5, 5)]


def test_a_request_without_a_first_text_has_it_at_its_end() -> None:
    assert result((1.0, None, 3.0, 1)).finished == [Finished(1.0, 3.0, 3.0, 1)]


def test_figures_are_of_all_requests() -> None:
    """Their first texts come after 1, 2 and 4 seconds, and all of it lasts ten seconds."""
    found = result((0.0, 0.5, 3.0, 3), (1.0, 2.5, 9.0, 7), (2.0, 5.5, 10.0, 10))
    found.refused, found.lost = 2, 1
    assert found.figures(ttft=2.0) == pytest.approx(
        {
            "ok": 3,
            "refused": 2,
            "lost": 1,
            "requests_s": 0.3,
            "tokens_s": 2.0,
            "goodput_s": 0.2,
            "ttft_p50_ms": 2000,
            "ttft_p99_ms": 4000,
            "tpot_p50_ms": 1000,
            "e2e_p50_ms": 8000,
            "e2e_p99_ms": 8000,
            "waiting": 0.7,
        }
    )


def test_a_token_alone_has_no_pace() -> None:
    figures = result((0.0, 0.5, 1.0, 1)).figures()
    assert math.isnan(figures["tpot_p50_ms"])
    assert figures["ttft_p50_ms"] == 1000


def test_without_an_answer_there_are_no_times() -> None:
    figures = result().figures()
    assert figures["ok"] == figures["tokens_s"] == figures["waiting"] == 0
    assert math.isnan(figures["ttft_p99_ms"])
