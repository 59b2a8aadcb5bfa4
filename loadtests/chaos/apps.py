"""The apps of a soak: what each kind of them asks."""

from __future__ import annotations

import asyncio
import random
import time

import httpx2

from cupola.loadtests.load.reading import Reading
from cupola.loadtests.load.workloads import WORDS

MODEL = "smollm2-135m"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


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
