"""How much load there is at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

MOST_CLIENTS = 10_000
LEAST_RATE, MOST_RATE = 0.001, 10_000.0
NumberT = TypeVar("NumberT", int, float)


@dataclass(frozen=True, slots=True)
class Level:
    """A closed loop of ``clients``, or arrivals at random with ``rate`` a second on average."""

    clients: int = 0
    rate: float = 0.0

    @property
    def label(self) -> str:
        if self.rate:
            return f"{self.rate:g} requests/s"
        return "1 client" if self.clients == 1 else f"{self.clients} clients"


def closed(text: str) -> list[Level]:
    """The levels of a text such as "1,4,16". Raises ValueError."""
    levels = [Level(clients=_number(each, int)) for each in text.split(",")]
    _check([level.clients for level in levels], 1, MOST_CLIENTS)
    return levels


def open_loop(text: str) -> list[Level]:
    """The levels of a text such as "0.5,2". Raises ValueError."""
    levels = [Level(rate=_number(each, float)) for each in text.split(",")]
    _check([level.rate for level in levels], LEAST_RATE, MOST_RATE)
    return levels


def arrivals(rate: float, seconds: float, requests: int, chance: Random) -> Iterator[float]:
    """Seconds from the start: a Poisson process of ``seconds``, with at least so many requests."""
    at, number = 0.0, 0
    while (at := at + chance.expovariate(rate)) < seconds or number < requests:
        number += 1
        yield at


def _number(text: str, kind: Callable[[str], NumberT]) -> NumberT:
    try:
        return kind(text)
    except ValueError:
        wanted = "whole number" if kind is int else "number"
        raise ValueError(f"'{text.strip()}' is no {wanted}") from None


def _check(values: Sequence[float], least: float, most: float) -> None:
    for value in values:
        if not least <= value <= most:  # nan too
            raise ValueError(f"{value:g} is not from {least:g} to {most:g}")
