"""Workers come and go while clients read their answers: none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.service.running_service import MODEL, PATIENCE, Service, eventually

pytestmark = pytest.mark.slow

Start = Callable[..., Service]
TOKENS = 40


def workers(service: Service) -> dict[str, Any]:
    answer = httpx2.get(f"{service.url}/admin/workers", timeout=PATIENCE).json()
    return {worker["name"]: worker for worker in answer["workers"]}


def change(service: Service, path: str, **body: object) -> None:
    answer = httpx2.post(f"{service.url}/admin/workers{path}", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text


def state(service: Service, name: str) -> str:
    return str(workers(service).get(name, {}).get("state", "gone"))


def test_no_request_is_lost_when_workers_come_and_go(start: Start) -> None:
    service = start(workers=2, slots=4).ready()
    eventually(lambda: len(running(service)) == 2)

    async def answer(client: Any) -> tuple[int, list[str]]:
        """How many tokens came, and how often it ended."""
        ends = []
        tokens = 0
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell a long story about a lighthouse."}],
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        async for chunk in stream:
            ends += [c.finish_reason for c in chunk.choices if c.finish_reason]
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        return tokens, ends

    async def scenario() -> list[tuple[int, list[str]]]:
        async with service.async_openai() as client:

            def some(count: int) -> list[asyncio.Task[tuple[int, list[str]]]]:
                return [asyncio.create_task(answer(client)) for _ in range(count)]

            async def until(check: Callable[[], bool]) -> None:
                await asyncio.to_thread(eventually, check)

            first = some(6)
            await until(lambda: min(running(service).values()) > 0)
            before = workers(service)["cpu:0/1"]["pid"]
            await asyncio.to_thread(change, service, "/drain", name="cpu:0/1")
            first += some(3)
            await until(lambda: state(service, "cpu:0/1") == "stopped")
            await asyncio.to_thread(change, service, "/restart", name="cpu:0/1")
            await until(lambda: state(service, "cpu:0/1") == "serving")
            assert workers(service)["cpu:0/1"]["pid"] != before
            # The other one is busy, and must still be started anew.
            first += some(3)
            before = workers(service)["cpu:0/0"]["pid"]
            await asyncio.to_thread(change, service, "/restart", name="cpu:0/0")
            await until(lambda: workers(service)["cpu:0/0"]["pid"] not in (0, before))
            return await asyncio.gather(*first)

    assert asyncio.run(scenario()) == [(TOKENS, ["length"])] * 12
    change(service, "", threads=1)
    eventually(lambda: state(service, "cpu:0/2") == "serving")
    change(service, "/remove", name="cpu:0/0")
    eventually(lambda: state(service, "cpu:0/0") == "gone")
    # A new scheduler is told who is there.
    service.child("scheduler").kill()
    eventually(lambda: service.is_ready() and set(running(service)) == {"cpu:0/1", "cpu:0/2"})
    assert "unexpectedly" not in "\n".join(line for line in service.log if "worker" in line)


def running(service: Service) -> dict[str, int]:
    """How many requests run on each worker that serves."""
    there = workers(service)
    return {n: int(w["running"]) for n, w in there.items() if w["state"] == "serving"}
