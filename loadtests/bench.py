"""Measures a running chat service: tokens a second, time to first token, time between tokens.

    python loadtests/bench.py --clients 1,16
    python loadtests/bench.py --url http://127.0.0.1:5273 --url http://127.0.0.1:5411 --rounds 3

With several addresses the contestants take turns in every round, in another order in every second
round, so that a machine whose speed drifts is fair to all. The figures are medians over the rounds,
and so is the ratio of the first one's tokens/s to each other's. All contestants are asked the same.
Requests have no seed, as most apps send none. Any OpenAI chat endpoint will do.
Load goes to loopback addresses only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
from http_client import loopback
from reading import Reading
from results import percentile
from workloads import CHAT, WORKLOADS, Conversation, Workload, story

# Before each turn: the threads of llama-server, for one, keep the cores busy for a tenth of a
# second after its last answer, which cost who came next a tenth of its speed at one client.
REST_SECONDS = 0.5


@dataclass(slots=True)
class Measured:
    """One contestant at one number of clients in one round. Times in seconds."""

    seconds: float = 0.0
    tokens: int = 0
    errors: int = 0
    why: str | None = None  # of the last error
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def take(self, reading: Reading) -> None:
        self.tokens += reading.tokens
        if reading.error is not None:
            self.errors += 1
            self.why = reading.error
        self.gaps += reading.gaps
        if reading.ttft is not None:
            self.first.append(reading.ttft)

    def figures(self) -> dict[str, float]:
        return {
            "tokens_s": self.tokens / self.seconds,
            "ttft_p50_ms": percentile(self.first, 50) * 1000,
            "itl_p50_ms": percentile(self.gaps, 50) * 1000,
            "itl_p99_ms": percentile(self.gaps, 99) * 1000,
            "errors": self.errors,
        }


@dataclass(slots=True)
class Contestant:
    url: str
    model: str
    rounds: list[dict[str, float]] = field(default_factory=list)


async def ask(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> Reading:
    reading = Reading(time.perf_counter())
    try:
        async with client.stream("POST", f"{url}{CHAT}", json=body) as response:
            if response.is_error:
                await response.aread()
                reading.error = f"status {response.status_code}: {response.text[:200]}"
            async for line in response.aiter_lines():
                reading.line(line, time.perf_counter())
        reading.end(time.perf_counter())
    except httpx2.HTTPError as error:
        reading.error = f"{url} did not answer ({error or type(error).__name__})"
    return reading


async def load(
    url: str, model: str, workload: Workload, clients: int, requests: int, seed: int
) -> Measured:
    """``clients`` apps at once, each with ``requests`` conversations, one after the other."""
    measured = Measured()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as client:

        async def app(number: int) -> None:
            chance = random.Random(seed * 10_000 + number)
            for _ in range(requests):
                conversation = Conversation(workload, model, chance, seed)
                while not conversation.over:
                    reading = await ask(client, url, conversation.body())
                    measured.take(reading)
                    if reading.error is not None:
                        break
                    conversation.answered(reading.text, reading.calls)

        began = time.perf_counter()
        await asyncio.gather(*(app(number) for number in range(clients)))
        measured.seconds = time.perf_counter() - began
    return measured


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", type=loopback, action="append", help="a service; may be repeated")
    parser.add_argument(
        "--model", action="append", help="for all addresses, or one for each in their order"
    )
    parser.add_argument("--clients", default="1,16", help="numbers of apps at once")
    parser.add_argument("--requests", type=int, default=2, help="requests of each app")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument(
        "--shared-prefix",
        nargs="?",
        const="new",
        choices=["new", "known"],
        help="one long system prompt: a new one in every round, or always the same",
    )
    parser.add_argument("--prompt-words", type=int, default=0, help="long prompts that all differ")
    parser.add_argument("--copy", action="store_true", help="a text to be written once more")
    chats = [name for name, each in WORKLOADS.items() if each.path == CHAT]
    parser.add_argument("--workload", choices=chats, help="of locust's, instead of stories")
    parser.add_argument("--json", action="store_true", help="a line of JSON for every row")
    options = parser.parse_args()
    options.url = options.url or ["http://127.0.0.1:5273"]
    options.model = options.model or ["smollm2-135m"]
    if len(options.model) == 1:
        options.model *= len(options.url)
    if len(options.model) != len(options.url):
        parser.error(f"{len(options.url)} addresses and {len(options.model)} models")
    return options


def main() -> None:
    options = arguments()
    workload = story(options.max_tokens, options.shared_prefix, options.prompt_words, options.copy)
    if options.workload:
        workload = WORKLOADS[options.workload]
    contestants = [
        Contestant(url, model) for url, model in zip(options.url, options.model, strict=True)
    ]
    for one in contestants:  # the first request may load the model
        tried = asyncio.run(load(one.url, one.model, workload, clients=2, requests=1, seed=0))
        if not tried.tokens:
            sys.exit(f"{one.url}, model {one.model}: {tried.why or 'it answers with no text'}")
    for clients in map(int, options.clients.split(",")):
        for one in contestants:
            one.rounds.clear()
        for number in range(1, options.rounds + 1):
            for one in contestants if number % 2 else reversed(contestants):
                time.sleep(REST_SECONDS)
                measured = asyncio.run(
                    load(one.url, one.model, workload, clients, options.requests, number)
                )
                if measured.why:
                    print(f"{one.url}: {measured.errors} x {measured.why}", file=sys.stderr)
                one.rounds.append(measured.figures())
        for one in contestants:
            report(one, contestants[0], clients, options.json)


def report(one: Contestant, first: Contestant, clients: int, as_json: bool) -> None:
    """``first``: the one that the others are compared to."""
    row = {name: statistics.median(each[name] for each in one.rounds) for name in one.rounds[0]}
    ratio = statistics.median(
        ours["tokens_s"] / theirs["tokens_s"] if theirs["tokens_s"] else math.inf
        for ours, theirs in zip(first.rounds, one.rounds, strict=True)
    )
    if as_json:
        who = {"url": one.url, "model": one.model, "clients": clients}
        print(json.dumps(who | row | {"ratio": ratio}), flush=True)
        return
    print(
        f"{one.url}  {clients:>3} clients  {row['tokens_s']:7.1f} tokens/s  "
        f"TTFT p50 {row['ttft_p50_ms']:6.0f} ms  ITL p50 {row['itl_p50_ms']:5.0f} ms  "
        f"p99 {row['itl_p99_ms']:5.0f} ms  errors {row['errors']:.0f}"
        + (f"  the first: x{ratio:.2f}" if one is not first else ""),
        flush=True,
    )


if __name__ == "__main__":
    main()
