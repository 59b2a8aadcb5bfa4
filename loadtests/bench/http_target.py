"""A server behind an address, under a closed loop of clients or random arrivals."""

from __future__ import annotations

import asyncio
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from random import Random
from typing import Any

import httpx2

from cupola.loadtests.bench.level import Level, arrivals
from cupola.loadtests.bench.target import Amount, Broken, Turn
from cupola.loadtests.load.reading import Reading
from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.server import (
    TIMEOUT,
    Refused,
    Unreachable,
    choose_models,
    loopback,
    model_ids,
    raise_for,
    why,
)
from cupola.loadtests.load.workloads import CHAT, Conversation, Workload

_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None)


class HttpTarget:
    """An OpenAI-compatible server. Without ``model`` the first chat model that it lists."""

    def __init__(self, url: str, name: str = "", model: str = "", api_key: str = "") -> None:
        """Raises Broken for an address that is not on this machine."""
        try:
            self.url = loopback(url)
        except (ArgumentTypeError, ValueError) as error:
            raise Broken(str(error)) from None
        self.name = name or self.url
        self.model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else None

    @property
    def where(self) -> str:
        return self.url

    def check(self, workload: Workload) -> None:
        asyncio.run(self._check(workload))

    def run(
        self,
        workload: Workload,
        level: Level,
        amount: Amount,
        seed: int,
        keep: Callable[[Record], None],
    ) -> Turn:
        return asyncio.run(_Load(self, workload, seed, keep).run(level, amount))

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers=self._headers, timeout=TIMEOUT, limits=_LIMITS, trust_env=False
        )

    async def _check(self, workload: Workload) -> None:
        """Chooses the model, and has it loaded by a first request."""
        async with self.client() as client:
            if not self.model:
                self.model = await self._listed(client)
            body = workload.body(self.model, Random(f"first {self.name}"))
            reading = await ask(client, self.url, body, time.perf_counter())
        if reading.error is not None:
            raise Broken(f"{self.name}, model {self.model}: {reading.error}")
        if not reading.tokens:
            raise Broken(f"{self.name}, model {self.model}: it answers with no text")

    async def _listed(self, client: httpx2.AsyncClient) -> str:
        try:
            listed = model_ids(self.url, await client.get(f"{self.url}/v1/models"))
        except Unreachable as error:
            raise Broken(str(error)) from None
        except httpx2.HTTPError as error:
            raise Broken(why(self.url, error)) from None
        if chosen := choose_models(listed).chat:
            return chosen
        raise Broken(f"{self.url} lists no chat model: install one, or give --model")


class _Load:
    """One turn."""

    def __init__(
        self, target: HttpTarget, workload: Workload, seed: int, keep: Callable[[Record], None]
    ) -> None:
        self._target, self._workload, self._seed, self._keep = target, workload, seed, keep
        self._turn = Turn()
        self._client: httpx2.AsyncClient

    async def run(self, level: Level, amount: Amount) -> Turn:
        async with self._target.client() as self._client:
            began = time.perf_counter()
            if level.rate:
                await self._arrivals(began, level.rate, amount)
            else:
                apps = (self._app(number, amount.requests) for number in range(level.clients))
                await asyncio.gather(*apps)
            self._turn.seconds = time.perf_counter() - began
        records = self._turn.records
        if records and all(record.end is End.ERROR for record in records):
            raise Broken(f"{self._target.name}: {records[-1].error}")
        return self._turn

    async def _app(self, number: int, requests: int) -> None:
        """A client that asks again when it has its answer."""
        chance = Random(self._seed * 10_000 + number)
        for _ in range(requests):
            await self._converse(None, chance)

    async def _arrivals(self, began: float, rate: float, amount: Amount) -> None:
        """A Poisson process. Latency counts from the moment at which each was to arrive."""
        times, texts = Random(self._seed), Random(f"texts {self._seed}")
        async with asyncio.TaskGroup() as open_requests:
            for after in arrivals(rate, amount.seconds, amount.requests, times):
                at = began + after
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                open_requests.create_task(self._converse(at, Random(texts.random())))

    async def _converse(self, began: float | None, chance: Random) -> None:
        """All turns of a conversation. The first has an intended start."""
        conversation = Conversation(self._workload, self._target.model, chance, self._seed)
        while not conversation.over:
            sent = time.perf_counter()
            at = sent if began is None else began
            reading = await ask(self._client, self._target.url, conversation.body(), at)
            reading.error = reading.error or self._workload.fault(
                reading.text, reading.finish_reason
            )
            end = End.OK if reading.error is None else End.ERROR
            wall = time.time() - (time.perf_counter() - at)
            record = Record.of(self._workload.name, wall, sent - at, end, reading)
            self._turn.records.append(record)
            self._keep(record)
            if reading.error is not None:
                return
            conversation.answered(reading.text, reading.calls)
            began = None


async def ask(client: httpx2.AsyncClient, url: str, body: dict[str, Any], began: float) -> Reading:
    """One streamed answer. What goes wrong is in its ``error``."""
    reading = Reading(began)
    try:
        async with client.stream("POST", f"{url}{CHAT}", json=body) as response:
            if not response.is_success:
                await response.aread()
                raise_for(response)
            async for line in response.aiter_lines():
                reading.line(line, time.perf_counter())
        reading.end(time.perf_counter())
    except (httpx2.HTTPError, httpx2.StreamError, Refused) as error:
        reading.ended = time.perf_counter()
        reading.error = why(url, error)
    return reading
