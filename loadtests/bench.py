"""Measures a running chat service: tokens a second, time to first token, time between tokens.

    python loadtests/bench.py --clients 1,16
    python loadtests/bench.py --url http://127.0.0.1:5273 --url http://127.0.0.1:5411 --rounds 3

With several addresses the contestants take turns in every round, in another order in every second
round, so that a machine whose speed drifts is fair to all. The figures are medians over the rounds,
and so is the ratio of the first one's tokens/s to each other's. Requests have seeds: two rounds of
one number ask the same. Any OpenAI chat endpoint will do.
Load goes to loopback addresses only.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import math
import random
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book"
).split()
# Before each turn: the threads of llama-server, for one, keep the cores busy for a tenth of a
# second after its last answer, which cost who came next a tenth of its speed at one client.
REST_SECONDS = 0.5
SYSTEM = "You are a careful assistant for a small library. " * 40


@dataclass(frozen=True, slots=True)
class Workload:
    """What every client asks."""

    model: str
    max_tokens: int
    shared_prefix: str | None  # "new" in every round or "known"
    prompt_words: int  # of a long prompt that differs for every request; 0: a short one
    copy: bool = False  # a given text is to be written once more, at temperature 0

    def body(self, chance: random.Random, round_: int = 0) -> dict[str, object]:
        # A new one is shared by those who come together, and known to nobody before.
        day = round_ if self.shared_prefix == "new" else 0
        system = f"It is day {day}. {SYSTEM}" if self.shared_prefix else ""
        if self.prompt_words:
            system = " ".join(chance.choices(WORDS, k=self.prompt_words))
        messages = [{"role": "system", "content": system}] if system else []
        text = f"Write a long story about {chance.choice(WORDS)} number {chance.randint(0, 9999)}."
        if self.copy:
            text = f"Repeat this text, word for word, and nothing else:\n\n{_letter(chance)}"
        return {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": text}],
            "max_tokens": self.max_tokens,
            "temperature": 0.0 if self.copy else 0.8,
            "seed": chance.randrange(2**31),
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }


def _letter(chance: random.Random) -> str:
    """About 200 tokens of plain sentences, of which no two are alike."""
    a = chance.choice
    return " ".join(
        f"The {a(WORDS)} of the {a(WORDS)} will be at the {a(WORDS)} until {number} o'clock, and "
        f"every {a(WORDS)} of your {a(WORDS)} may come."
        for number in range(1, 9)
    )


@dataclass(slots=True)
class Measured:
    """One contestant at one number of clients in one round. Times in seconds."""

    seconds: float = 0.0
    tokens: int = 0
    errors: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

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
    workload: Workload
    rounds: list[dict[str, float]] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))]


async def ask(client: httpx2.AsyncClient, url: str, body: dict, measured: Measured) -> None:
    began = last = time.perf_counter()
    pieces, told = 0, 0
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for chunk in chunks(response):
                told = (chunk.get("usage") or {}).get("completion_tokens", told)
                if any(choice["delta"].get("content") for choice in chunk["choices"]):
                    now = time.perf_counter()
                    if pieces:
                        measured.gaps.append(now - last)
                    else:
                        measured.first.append(now - began)
                    pieces, last = pieces + 1, now
    except (httpx2.HTTPError, KeyError, ValueError):
        measured.errors += 1
    measured.tokens += told or pieces


async def chunks(response: httpx2.Response) -> AsyncIterator[dict]:
    async for line in response.aiter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


async def load(url: str, workload: Workload, clients: int, requests: int, seed: int) -> Measured:
    """``clients`` apps at once, each asking ``requests`` times, one after the other."""
    measured = Measured()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as client:

        async def app(number: int) -> None:
            chance = random.Random(seed * 10_000 + number)
            for _ in range(requests):
                await ask(client, url, workload.body(chance, seed), measured)

        began = time.perf_counter()
        await asyncio.gather(*(app(number) for number in range(clients)))
        measured.seconds = time.perf_counter() - began
    return measured


def loopback(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise argparse.ArgumentTypeError(f"{url} is not on this machine")
    return url.rstrip("/")


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
    contestants = [
        Contestant(
            url,
            Workload(
                model,
                options.max_tokens,
                options.shared_prefix,
                options.prompt_words,
                options.copy,
            ),
        )
        for url, model in zip(options.url, options.model, strict=True)
    ]
    for one in contestants:  # the first request may load the model
        asyncio.run(load(one.url, one.workload, clients=2, requests=1, seed=0))
    for clients in map(int, options.clients.split(",")):
        for one in contestants:
            one.rounds.clear()
        for number in range(1, options.rounds + 1):
            for one in contestants if number % 2 else reversed(contestants):
                time.sleep(REST_SECONDS)
                measured = asyncio.run(
                    load(one.url, one.workload, clients, options.requests, number)
                )
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
        who = {"url": one.url, "model": one.workload.model, "clients": clients}
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
