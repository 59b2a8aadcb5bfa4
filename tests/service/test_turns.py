"""Clients take turns, with the real model: what one sends many of costs another little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

FLOOD = 12
LIMIT = 10  # of the queue


class Clients:
    """Two clients of one service, and in which order their answers ended."""

    def __init__(self, service: Service) -> None:
        url = f"{service.url}/v1"
        self.many = openai.AsyncOpenAI(base_url=url, api_key="many", max_retries=0)
        self.lone = openai.AsyncOpenAI(base_url=url, api_key="lone", max_retries=0)
        self.ended: list[str] = []

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.many.close()
        await self.lone.close()

    async def ask(self, client: openai.AsyncOpenAI, text: str, name: str, **options: Any) -> str:
        settings: dict[str, Any] = {"temperature": 0, "max_tokens": 12} | options
        messages: Any = [{"role": "user", "content": text}]
        answer = await client.chat.completions.create(model=MODEL, messages=messages, **settings)
        self.ended.append(name)
        return answer.choices[0].message.content or ""

    @asynccontextmanager
    async def flood(self, count: int, text: str) -> AsyncIterator[list[asyncio.Task[str]]]:
        """So many requests of one client. One of them has ended when the block begins."""
        tasks = [
            asyncio.create_task(self.ask(self.many, f"{number}: {text}", "flood"))
            for number in range(count)
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        yield tasks
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_turn(clients: Clients) -> None:
    question = "Name a colour."
    alone = await clients.ask(clients.lone, question, "alone")
    async with clients.flood(8, "Tell a story. " + "Once upon a time. " * 15):
        assert await clients.ask(clients.lone, question, "lone") == alone
        before = clients.ended.count("flood")
    assert before < 6, "it waited behind the flood"
    assert clients.ended.count("flood") == 8


async def refused(clients: Clients) -> None:
    async with clients.flood(FLOOD, "Tell a story.") as flood:
        assert await clients.ask(clients.lone, "Name a colour.", "lone")
        with pytest.raises(openai.APIStatusError) as late:
            await asyncio.gather(
                *(
                    clients.ask(clients.many, "Late?", "late", extra_body={"timeout": 0.001})
                    for _ in range(3)
                )
            )
    ends = [task.exception() for task in flood]
    errors = [end for end in ends if end is not None]
    assert 0 < len(errors) < FLOOD
    for error in errors:
        assert isinstance(error, openai.RateLimitError)
        assert error.code == "too_many_waiting"
        assert int(error.response.headers["retry-after"]) >= 1
    assert late.value.code in ("queue_timeout", "too_many_waiting")


def test_clients_take_turns(start: Callable[..., Service]) -> None:
    service = start(slots=1, spare_slots=1, queue_limit=LIMIT, workers="cpu:0").ready()

    async def both() -> None:
        async with Clients(service) as clients:
            await in_turn(clients)
            clients.ended.clear()
            await refused(clients)

    asyncio.run(both())
