"""Twenty questions about one state: decisions in a second, of a new state and of a known one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from statistics import median
from typing import NamedTuple

import httpx2

from cupola.loadtests.decisions.contestants import ALL_SLOTS, Cupola, Llama
from cupola.loadtests.decisions.texts import QUESTIONS, STATE_WORDS, statements, text_of

Found = dict[tuple[str, str], list["Speed"]]  # by contestant, and what it knew of the state


class Speed(NamedTuple):
    decisions_s: float
    cpu_ms: float  # of a decision, in all processes of the server


def compare(ours: Cupola, theirs: Llama, clients: Sequence[int], rounds: int) -> None:
    contestants = (ours, theirs)
    for each in contestants:
        with each.client() as http:
            each.ask(http, text_of("warm-up", 40), statements("warm-up", 2))
    print("| clients | state | server | decisions/s | CPU ms a decision | ratio | CPU ratio |")
    print("|---|---|---|---|---|---|---|")
    for count in clients:
        found: Found = {}
        for number in range(rounds):
            order = contestants if number % 2 == 0 else contestants[::-1]
            for each in order:
                for known, speed in zip(("new", "known"), _round(each, count, number), strict=True):
                    found.setdefault((known, each.name), []).append(speed)
        if count == 1:
            together = replace(
                theirs, name=f"{theirs.name}, {ALL_SLOTS} calls at once", at_once=ALL_SLOTS
            )
            found["known", together.name] = _in_all_slots(together, rounds)
        print(*lines(count, ours.name, found), sep="\n", flush=True)


def _round(each: Cupola | Llama, clients: int, number: int) -> list[Speed]:
    """Each client has a state of its own: it is new, and then it is known."""
    states = [text_of(f"round {number} {client}", STATE_WORDS) for client in range(clients)]
    with each.client() as http:
        return [
            _speed(each, http, states, statements(f"{clients} {number} {when}"))
            for when in ("new", "known")
        ]


def _in_all_slots(together: Llama, rounds: int) -> list[Speed]:
    """Every slot has read the state before."""
    state = text_of("in all slots", STATE_WORDS)
    with together.client() as http:
        together.ask(http, state, statements("before", ALL_SLOTS))
        return [_speed(together, http, [state], statements(f"then {n}")) for n in range(rounds)]


def _speed(
    each: Cupola | Llama, http: httpx2.Client, states: Sequence[str], asked: list[str]
) -> Speed:
    """Of all states at once, a client for each."""
    began, used = time.perf_counter(), each.cpu_seconds()
    with ThreadPoolExecutor(len(states)) as threads:
        list(threads.map(each.ask, repeat(http), states, repeat(asked)))
    decisions = len(states) * QUESTIONS
    seconds = time.perf_counter() - began
    return Speed(decisions / seconds, 1e3 * (each.cpu_seconds() - used) / decisions)


def lines(clients: int, ours: str, found: Found) -> Iterator[str]:
    """A line of the table for each server, with medians; ratios are those to ``ours``."""
    middle = {
        key: Speed(*(median(values) for values in zip(*speeds, strict=True)))
        for key, speeds in found.items()
    }
    for (known, name), speed in sorted(middle.items(), key=lambda item: item[0][0] == "known"):
        own = middle[known, ours]
        wall, cpu = own.decisions_s / speed.decisions_s, speed.cpu_ms / own.cpu_ms
        ratios = " | |" if name == ours else f" {wall:.2f} | {cpu:.2f} |"
        rates = f"{speed.decisions_s:.1f} | {speed.cpu_ms:.0f}"
        yield f"| {clients} | {known} | {name} | {rates} |{ratios}"
