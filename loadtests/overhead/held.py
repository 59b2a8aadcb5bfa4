"""Memory while many requests are held: streams in which nothing happens, and a long queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2

from cupola.loadtests.host.own_service import OwnService
from cupola.loadtests.overhead.connections import Connection, post
from cupola.loadtests.overhead.processes import Processes

SILENT = "echo:wait, and say nothing more"  # the echo backend's: one word, and no end
PROMPTS = 20  # of a request for completions: each is a request of its own in the scheduler
PROMPT_WORDS = 100


def idle_streams(home: Path, logs: Path, model: str, count: int) -> tuple[float, float]:
    """Memory of the gateway in MB, without streams and with so many that have begun."""
    settings = {"backend": "echo", "model": model, "slots": count + 16, "log_level": "warning"}
    with OwnService(home, logs, settings) as service:
        service.wait_until_ready()
        processes = Processes.of(service.url)
        before = processes.memory_mb("gateway")
        request = post(_chat(model, SILENT) | {"stream": True})
        return before, asyncio.run(_held(service.port, [request] * count, processes, "gateway"))


def queued_requests(home: Path, logs: Path, model: str, count: int) -> tuple[float, float, int]:
    """Memory of the scheduler in MB, with an empty queue and a full one; how many waited."""
    settings = {
        "backend": "echo",
        "model": model,
        "slots": 1,
        "spare_slots": 0,
        "queue_limit": 2 * count,
        "queue_tokens": 0,
        "log_level": "warning",
    }
    with OwnService(home, logs, settings) as service:
        service.wait_until_ready()
        processes = Processes.of(service.url)
        before = processes.memory_mb("scheduler")
        prompt = "word " * PROMPT_WORDS
        body = {"model": model, "prompt": [prompt] * PROMPTS, "max_tokens": 1}
        first = post(_chat(model, SILENT) | {"stream": True})
        return before, *asyncio.run(_queued(service, first, body, count // PROMPTS, processes))


async def _held(port: int, requests: list[bytes], processes: Processes, name: str) -> float:
    """Begin them all, and look when each has an answer that has begun."""
    connections = []
    for request in requests:
        connection = await Connection.to(port)
        await connection.begin(request)
        connections.append(connection)
    await asyncio.gather(*(connection.begun() for connection in connections))
    memory = processes.memory_mb(name)
    for connection in connections:
        await connection.close()
    return memory


async def _queued(
    service: OwnService, first: bytes, body: dict[str, object], count: int, processes: Processes
) -> tuple[float, int]:
    connections = [await Connection.to(service.port) for _ in range(count + 1)]
    await connections[0].begin(first)
    await connections[0].begun()
    request = post(body, "/v1/completions")
    for connection in connections[1:]:
        await connection.begin(request)
    waiting, before = 0, -1
    while waiting > before or waiting == 0:
        before = waiting
        await asyncio.sleep(1.0)
        waiting = await asyncio.to_thread(_waiting, service.url)
    memory = processes.memory_mb("scheduler")
    for connection in connections:
        await connection.close()
    return memory, waiting


def _waiting(url: str) -> int:
    return int(httpx2.get(f"{url}/ready", timeout=60, trust_env=False).json()["queued"])


def _chat(model: str, text: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}
