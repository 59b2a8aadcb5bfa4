"""Work on many inputs: some at a time, in order, and errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cupola.client.commands.decisions.in_order import in_order


def test_results_come_in_the_inputs_order() -> None:
    turn = threading.Barrier(3)

    def work(number: int) -> int:
        turn.wait(30)  # three at a time
        return number * number

    assert list(in_order(work, range(9), 3)) == [(n, n * n) for n in range(9)]


def test_no_more_inputs_are_taken_than_are_worked_on() -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    found = in_order(lambda number: number, inputs(), 4)
    assert next(found) == (0, 0)
    assert len(taken) == 4
    found.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("at", ["input", "work"])
def test_an_error_comes_after_the_results_before_it(at: str) -> None:
    def inputs() -> Iterator[int]:
        yield from (1, 2)
        if at == "input":
            raise ValueError("broken")
        yield 0

    found: list[float] = []
    with pytest.raises((ValueError, ZeroDivisionError)):
        found += (made for _, made in in_order(lambda number: 1 / number, inputs(), 2))
    found.clear()
    made = in_order(lambda number: 1 / number, inputs(), 2)
    assert [next(made)[1], next(made)[1]] == [1.0, 0.5]
    with pytest.raises((ValueError, ZeroDivisionError)):
        next(made)
