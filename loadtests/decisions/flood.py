"""The time between the tokens of 8 chats, alone and beside clients that ask without a pause."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from statistics import median, quantiles

import httpx2

from cupola.loadtests.decisions.contestants import Cupola
from cupola.loadtests.decisions.texts import QUESTIONS, STATE_WORDS, statements, text_of, topic

CHATS, FLOODS = 8, 4
_TOKENS = 96  # of an answer


def compare(ours: Cupola, rounds: int, objective_ms: float) -> None:
    numbers = count()
    gaps: dict[int, list[float]] = {0: [], FLOODS: []}
    rates: list[float] = []
    _answers(ours, 0)  # a warm-up
    for number in range(rounds):
        for beside in gaps:
            with _Flood(ours, beside, numbers) as flood:
                gaps[beside] += _answers(ours, number)
            rates += [flood.decisions_s] if beside else []
    print(f"| {CHATS} chats | ITL p50, ms | p99, ms | {objective_ms:.0f} ms held | decisions/s |")
    print("|---|---|---|---|---|")
    for beside, found in gaps.items():
        name = f"beside {beside} clients with decisions" if beside else "alone"
        p50, p99 = median(found) * 1e3, quantiles(found, n=100)[98] * 1e3
        held = "yes" if p99 <= objective_ms else "no"
        rate = f"{median(rates):.1f}" if beside else ""
        print(f"| {name} | {p50:.0f} | {p99:.0f} | {held} | {rate} |", flush=True)


class _Flood:
    """So many clients, each with a new state in every request, as long as the context lasts."""

    def __init__(self, ours: Cupola, clients: int, numbers: Iterator[int]) -> None:
        self._ours = ours
        self._numbers = numbers
        self._over = threading.Event()
        self._done = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.decisions_s = 0.0

    def __enter__(self) -> _Flood:
        self._began = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.decisions_s = self._done * QUESTIONS / (time.perf_counter() - self._began)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self._ours.client() as http:
            while not self._over.is_set():
                with self._lock:
                    number = next(self._numbers)
                state = text_of(f"flood {number}", STATE_WORDS // 4)
                self._ours.ask(http, state, statements(f"flood {number}"))
                with self._lock:
                    self._done += 1


def _answers(ours: Cupola, number: int) -> list[float]:
    """Seconds between the tokens of all chats."""
    topics = [topic(number * CHATS + chat) for chat in range(CHATS)]
    with ours.client() as http, ThreadPoolExecutor(CHATS) as threads:
        times = threads.map(lambda text: list(_times(http, ours.model, text)), topics)
        return [later - earlier for each in times for earlier, later in pairwise(each)]


def _times(http: httpx2.Client, model: str, text: str) -> Iterator[float]:
    """When each piece of an answer came."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": _TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line.removeprefix("data: "))["choices"]
            if choices and choices[0]["delta"].get("content"):
                yield time.perf_counter()
