"""Mixed load with aborts and kills, and an account at the end: did every request end once?

    python loadtests/soak.py --minutes 10
    python loadtests/soak.py --minutes 10 --kills 6 --home FOLDER

Starts a service of its own on a free port, with a home of its own unless one is given (a home that
has the model spares the download). Apps of several kinds ask, leave early, read slowly, send what
is refused, and unload. ``--kills`` ends that many processes of the service with SIGKILL, in turn
the largest, the second largest, and so on. Printed at the end: how the requests of each kind ended,
what the service counted (since its scheduler started, so compare it without kills), memory at the
start and in every tenth of the time, and what was left behind, other services' folders included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import psutil

from cupola.loadtests.host.own_service import OwnService
from cupola.loadtests.load.reading import Reading
from cupola.loadtests.load.workloads import WORDS

MODEL = "smollm2-135m"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Account:
    """How requests ended, by kind: answered, refused, failed, left (by the client), or broken."""

    def __init__(self) -> None:
        self.ends: dict[str, Counter[str]] = {}
        self.open = 0

    async def watch(self, kind: str, request: Awaitable[str]) -> None:
        """Wait for a request and write down how it ended."""
        self.open += 1
        try:
            end = await request
        except httpx2.HTTPStatusError as error:
            end = "refused" if error.response.status_code < 500 else "failed"
        except (httpx2.HTTPError, OSError):
            end = "broken"
        finally:
            self.open -= 1
        self.ends.setdefault(kind, Counter())[end] += 1

    def print(self) -> None:
        for kind, ends in sorted(self.ends.items()):
            counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            print(f"  {kind:<12} {sum(ends.values()):>6} requests: {counts}")


class Apps:
    """What the apps do. Each method makes one request and returns how it ended."""

    def __init__(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        self._client = client
        self._chance = chance

    def _body(self, words: int = 12, **fields: object) -> dict[str, object]:
        text = " ".join(self._chance.choices(WORDS, k=words))
        messages = [{"role": "user", "content": f"Write about {text}."}]
        return {"model": MODEL, "messages": messages, "max_tokens": 48} | fields

    async def chat(self) -> str:
        body = self._body(seed=self._chance.randrange(9))
        answer = await self._client.post("/v1/chat/completions", json=body)
        return _ended(answer)

    async def stream(self) -> str:
        return await self._read(self._body(stream=True))

    async def slow(self) -> str:
        return await self._read(self._body(stream=True), pause=0.2)

    async def long(self) -> str:
        return await self._read(self._body(self._chance.randrange(200, 1500), stream=True))

    async def leaves(self) -> str:
        """Leaves after a few pieces, or while the prompt is read."""
        pieces = self._chance.randrange(6)
        return await self._read(self._body(words=200, stream=True), leave=pieces)

    async def schema(self) -> str:
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        answer = await self._client.post(
            "/v1/chat/completions", json=self._body(response_format=form)
        )
        return _ended(answer)

    async def anthropic(self) -> str:
        return _ended(await self._client.post("/v1/messages", json=self._body()))

    async def ollama(self) -> str:
        return _ended(await self._client.post("/api/chat", json=self._body() | {"stream": False}))

    async def wrong(self) -> str:
        fields: dict[str, object] = self._chance.choice(
            [{"temperature": 9}, {"model": "none"}, {"messages": []}, {"n": 0}]
        )
        return _ended(await self._client.post("/v1/chat/completions", json=self._body() | fields))

    async def unloads(self) -> str:
        return _ended(await self._client.get(f"/openai/unload/{MODEL}"))

    async def _read(
        self, body: dict[str, object], pause: float = 0.0, leave: int | None = None
    ) -> str:
        lines, reading = 0, Reading(time.monotonic())
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                reading.line(line, time.monotonic())
                if reading.error:
                    return "failed"
                lines += bool(line)
                if leave is not None and lines > leave and not reading.finish_reason:
                    return "left"
                await asyncio.sleep(pause)
        return "answered" if reading.finish_reason else "broken"


def _ended(answer: httpx2.Response) -> str:
    answer.raise_for_status()
    return "answered"


class Service(OwnService):
    """With what the soak looks at and does to it."""

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, number: int) -> None:
        """Kill the largest process, the second largest, and so on."""
        with contextlib.suppress(psutil.Error):
            ours = sorted(self.children(), key=lambda each: -each.memory_info().rss)
            ours[number % len(ours)].kill()

    def memory_mb(self) -> int:
        total = 0
        for each in [psutil.Process(self.process.pid), *self.children()]:
            with contextlib.suppress(psutil.Error):
                total += each.memory_full_info().pss
        return total >> 20

    def counted(self) -> dict[str, int]:
        """What the service counted, by outcome."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(r'cupola_requests_total\{outcome="(\w+)"\} ([\d.e+]+)', text)
        return {outcome: round(float(count)) for outcome, count in found}

    def orphans(self) -> list[psutil.Process]:
        """Stop it. Returns its processes that are still there."""
        ours = self.children()
        self.stop()
        return psutil.wait_procs(ours, timeout=10)[1]


async def soak(
    service: Service, seconds: float, apps: int, kills: int, seed: int
) -> tuple[Account, list[int]]:
    """Let ``apps`` apps ask for so long. Returns the account, and the memory in every tenth."""
    account, memory = Account(), [service.memory_mb()]
    end = time.monotonic() + seconds

    async def app(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        async with httpx2.AsyncClient(base_url=service.url, timeout=180) as client:
            does = Apps(client, chance)
            kinds: list[Callable[[], Awaitable[str]]] = [
                *[does.chat, does.stream] * 4,
                *[does.leaves, does.long, does.schema, does.wrong] * 2,
                *[does.slow, does.anthropic, does.ollama],
            ]
            if number == 0:
                kinds.append(does.unloads)
            while time.monotonic() < end:
                kind = chance.choice(kinds)
                await account.watch(getattr(kind, "__name__", ""), kind())

    async def watch_memory() -> None:
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            memory.append(service.memory_mb())

    async def kill() -> None:
        for number in range(kills):
            await asyncio.sleep(seconds / (kills + 1))
            service.kill(number)

    await asyncio.gather(watch_memory(), kill(), *(app(number) for number in range(apps)))
    return account, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--apps", type=int, default=12, help="apps at once")
    parser.add_argument("--kills", type=int, default=0, help="processes to kill meanwhile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a data folder that no service uses")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        before = set(Path(tempfile.gettempdir()).glob("cupola-*"))
        home = options.home or Path(made)
        service = Service(home, home)
        try:
            service.wait_until_ready()
            counts = soak(service, options.minutes * 60, options.apps, options.kills, options.seed)
            account, memory = asyncio.run(counts)
            time.sleep(2)
            counted = service.counted()
        finally:
            orphans = service.orphans()
        print("How the requests ended:")
        account.print()
        print(f"Open: {account.open}. Counted by the service: {counted}")
        print(f"Memory in every tenth of the time, MB: {memory}")
        left = sorted(set(Path(tempfile.gettempdir()).glob("cupola-*")) - before)
        print(f"Left behind: {len(orphans)} processes, {len(left)} folders")


if __name__ == "__main__":
    main()
