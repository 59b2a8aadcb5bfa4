"""What a client that sends one request waits while another client sends many.

    python loadtests/fairness.py --home FOLDER
    python loadtests/fairness.py --home FOLDER --rounds 8 --slots 16

Starts a service of its own. A lone client, with an API key of its own, sends short chats one after
the other: to the idle service, then beside 64 chats of another client that never end before the
next begins, then beside eight long prompts of another client. Printed are its times to the first
token, how long a step of the service is meanwhile, and what is allowed: two steps more than idle,
where its own prompt is read as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2

from cupola.loadtests.host.own_service import OwnService
from cupola.loadtests.load.reading import Reading
from cupola.loadtests.load.workloads import WORDS

MODEL = "smollm2-135m"

FLOOD = 64  # requests of the other client at once
LONG_PROMPTS = 8
LONG_WORDS = 3000
SHORT_WORDS = 12
SETTLE_SECONDS = 3.0  # until the flood has taken the slots


class Client:
    """An app with a key of its own."""

    def __init__(self, http: httpx2.AsyncClient, key: str, chance: random.Random) -> None:
        self._http = http
        self._headers = {"authorization": f"Bearer {key}"}
        self._chance = chance

    async def chat(self, words: int, max_tokens: int) -> Reading:
        """One streamed chat."""
        text = " ".join(self._chance.choices(WORDS, k=words))
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "stream": True,
        }
        reading = Reading(time.monotonic())
        path = "/v1/chat/completions"
        async with self._http.stream("POST", path, json=body, headers=self._headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                reading.line(line, time.monotonic())
        reading.end(time.monotonic())
        return reading


@contextlib.asynccontextmanager
async def repeated(count: int, one: Callable[[], Awaitable[Reading]]) -> AsyncIterator[list[float]]:
    """So many at once, each begun again when it ends. Yields the gaps between their pieces."""
    gaps: list[float] = []

    async def again() -> None:
        while True:
            gaps.extend((await one()).gaps)

    tasks = [asyncio.create_task(again()) for _ in range(count)]
    await asyncio.sleep(SETTLE_SECONDS)
    try:
        yield gaps
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def lone(client: Client, rounds: int) -> list[float]:
    """Times to the first token, sorted."""
    times = []
    for _ in range(rounds):
        reading = await client.chat(SHORT_WORDS, max_tokens=8)
        times.append((reading.first or time.monotonic()) - reading.began)
        await asyncio.sleep(0.2)
    return sorted(times)


async def measure(url: str, rounds: int) -> None:
    async with httpx2.AsyncClient(
        base_url=url, timeout=300, limits=httpx2.Limits(max_connections=None)
    ) as http:
        chance = random.Random(1)
        one, many = Client(http, "one", chance), Client(http, "many", chance)
        await lone(one, 2)
        idle = await lone(one, rounds)
        show("idle", idle, [], idle)
        async with repeated(FLOOD, lambda: many.chat(SHORT_WORDS, 64)) as gaps:
            show(f"beside {FLOOD} chats", await lone(one, rounds), gaps, idle)
        async with repeated(LONG_PROMPTS, lambda: many.chat(LONG_WORDS, 8)) as gaps:
            show(f"beside {LONG_PROMPTS} long prompts", await lone(one, rounds), gaps, idle)


def show(name: str, times: list[float], gaps: list[float], idle: list[float]) -> None:
    """``times`` and ``idle`` are sorted: the last is the worst, which is the p99 of so few."""
    shown = [statistics.median(times), times[-1]]
    if gaps:  # else no answer of the others has ended
        step = statistics.median(gaps)
        shown += [step, idle[-1] + 2 * step]
    cells = [f"{1000 * each:.0f}" for each in shown] + ["-"] * (4 - len(shown))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="requests of the lone client")
    parser.add_argument("--home", type=Path, help="a data folder that no service uses")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as made,
        OwnService(options.home or Path(made), Path(made)) as service,
    ):
        service.wait_until_ready()
        print("| the lone client, ms | TTFT median | TTFT worst | step | worst that is allowed |")
        print("|---|---|---|---|---|")
        asyncio.run(measure(service.url, options.rounds))


if __name__ == "__main__":
    main()
