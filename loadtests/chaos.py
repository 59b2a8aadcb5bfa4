"""Mixed load with kills, floods and aborts, and an account at the end: did every request end once?

    python -m loadtests.chaos --minutes 30
    python -m loadtests.chaos --minutes 10 --kills 0 --home FOLDER

Starts a service of its own on a free port, with a home of its own unless one is given (a home that
has the model spares the download). Apps of several kinds ask, leave early, read slowly, send what
is refused, load and unload; one sends floods. ``--kills`` processes of the service are ended with
SIGKILL meanwhile, at random. The account: how the requests of each kind ended, whether all that
were sent have ended, what still runs or waits when nobody asks any more, open files and processes
before and after, and the memory in every tenth of the time. Exits with 1 if something is left or a
request broke that no kill explains.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
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
FLOOD = 40  # requests at once
SETTLE_SECONDS = 60  # in which a service must come to rest
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Account:
    """How requests ended, by kind: answered, refused, failed, left (by the client), or broken."""

    def __init__(self) -> None:
        self.ends: dict[str, Counter[str]] = {}
        self.sent = 0
        self.open = 0

    async def watch(self, kind: str, request: Awaitable[str]) -> None:
        """Wait for a request and write down how it ended."""
        self.sent += 1
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

    @property
    def ended(self) -> int:
        return sum(sum(ends.values()) for ends in self.ends.values())

    def count(self, end: str) -> int:
        """How many requests ended so."""
        return sum(ends[end] for ends in self.ends.values())

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
        body = self._body(stream=False, options={"num_predict": 48})  # max_tokens is not Ollama's
        return _ended(await self._client.post("/api/chat", json=body))

    async def wrong(self) -> str:
        fields: dict[str, object] = self._chance.choice(
            [{"temperature": 9}, {"model": "none"}, {"messages": []}, {"n": 0}]
        )
        return _ended(await self._client.post("/v1/chat/completions", json=self._body() | fields))

    async def unloads(self) -> str:
        return _ended(await self._client.get(f"/openai/unload/{MODEL}"))

    async def loads(self) -> str:
        return _ended(await self._client.get(f"/openai/load/{MODEL}"))

    async def urgent(self) -> str:
        """Wants an answer soon or not at all."""
        body = self._body(priority=-1, timeout=self._chance.choice([0.05, 1.0, 30.0]))
        return _ended(await self._client.post("/v1/chat/completions", json=body))

    async def flood(self) -> str:
        """One of the many that come at once."""
        headers = {"authorization": "Bearer flood"}
        body = self._body(max_tokens=8)
        return _ended(await self._client.post("/v1/chat/completions", json=body, headers=headers))

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

    def kill(self, chance: random.Random) -> None:
        """Kill one of its processes."""
        with contextlib.suppress(psutil.Error):
            chance.choice(self.children()).kill()

    def open_files(self) -> int:
        """Descriptors of all its processes."""
        total = 0
        for each in [psutil.Process(self.process.pid), *self.children()]:
            with contextlib.suppress(psutil.Error):
                total += each.num_fds()
        return total

    def busy(self) -> float:
        """The requests that run or wait, as the service says."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(
            r"^cupola_num_requests_(?:running|waiting)(?:{.*})? ([\d.e+]+)", text, re.M
        )
        return sum(map(float, found))

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
                *[does.slow, does.anthropic, does.ollama, does.urgent],
            ]
            if number == 0:
                kinds += [does.unloads, does.loads]
            while time.monotonic() < end:
                kind = chance.choice(kinds)
                await account.watch(getattr(kind, "__name__", ""), kind())

    async def floods() -> None:
        async with httpx2.AsyncClient(
            base_url=service.url, timeout=180, limits=httpx2.Limits(max_connections=None)
        ) as client:
            does = Apps(client, random.Random(seed))
            while time.monotonic() < end:
                many = [account.watch("flood", does.flood()) for _ in range(FLOOD)]
                await asyncio.gather(*many)
                await asyncio.sleep(seconds / 10)

    async def watch_memory() -> None:
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            memory.append(service.memory_mb())

    async def kill() -> None:
        chance = random.Random(seed)
        for _ in range(kills):
            await asyncio.sleep(seconds / (kills + 1))
            service.kill(chance)

    await asyncio.gather(watch_memory(), kill(), floods(), *map(app, range(apps)))
    return account, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--apps", type=int, default=12, help="apps at once")
    parser.add_argument("--kills", type=int, default=6, help="processes to kill meanwhile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a data folder that no service uses")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        before = set(Path(tempfile.gettempdir()).glob("cupola-*"))
        home = options.home or Path(made)
        service = Service(home, home)
        try:
            service.wait_until_ready()
            files = service.open_files()
            counts = soak(service, options.minutes * 60, options.apps, options.kills, options.seed)
            account, memory = asyncio.run(counts)
            service.wait_until_ready()
            busy = rest(service)
            files = service.open_files() - files
            counted = service.counted()
        finally:
            orphans = service.orphans()
        print("How the requests ended:")
        account.print()
        left = sorted(set(Path(tempfile.gettempdir()).glob("cupola-*")) - before)
        print(f"Sent: {account.sent}. Ended: {account.ended}. Still open: {account.open}.")
        print(f"Counted by the service since its scheduler started: {counted}")
        print(f"Requests that run or wait when nobody asks any more: {busy:.0f}")
        print(f"Open files more than before: {files}")
        print(f"Memory in every tenth of the time, MB: {memory}")
        print(f"Left behind: {len(orphans)} processes, {len(left)} folders")
        unexplained = account.count("broken") if options.kills == 0 else 0
        uneven = account.sent - account.ended or account.open or busy or orphans or unexplained
        sys.exit(1 if uneven else 0)


def rest(service: Service) -> float:
    """Wait until nothing runs or waits. Returns what still does after a while."""
    end = time.monotonic() + SETTLE_SECONDS
    while (busy := service.busy()) and time.monotonic() < end:
        time.sleep(0.5)
    return busy


if __name__ == "__main__":
    main()
