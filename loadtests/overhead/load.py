"""Load on a port: as much as it takes, so many requests a second at random, or a probe."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from cupola.loadtests.overhead.connections import Connection

_PAUSE = 0.01  # seconds between two requests of one that probes, on average


@dataclass(slots=True)
class Load:
    """What came of it. ``latencies`` count from when each request was to be sent, in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    events: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def event_rate(self) -> float:
        return self.events / self.seconds


async def closed(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Each connection asks again when its answer is there."""
    load = Load(seconds)
    opened = [await Connection.to(port) for _ in range(connections)]
    began = time.monotonic()

    async def again(connection: Connection) -> None:
        while (asked := time.monotonic()) < began + seconds:
            await _ask(connection, request, asked, load)

    await asyncio.gather(*map(again, opened))
    load.seconds = time.monotonic() - began
    for connection in opened:
        await connection.close()
    return load


async def at_random(port: int, request: bytes, rate: float, seconds: float, seed: int) -> Load:
    """Poisson arrivals at ``rate``, answered or not. Each takes a connection that is idle."""
    load = Load(seconds)
    chance = random.Random(seed)
    idle = [await Connection.to(port) for _ in range(8)]
    began = due = time.monotonic()

    async def one(due: float) -> None:
        connection = idle.pop() if idle else await Connection.to(port)
        await _ask(connection, request, due, load)
        idle.append(connection)

    async with asyncio.TaskGroup() as tasks:
        while (due := due + chance.expovariate(rate)) < began + seconds:
            await asyncio.sleep(due - time.monotonic())
            tasks.create_task(one(due))
    for connection in idle:
        await connection.close()
    return load


async def probed(port: int, request: bytes, seconds: float, seed: int) -> Load:
    """One client, which asks now and then and waits for each answer."""
    load = Load(seconds)
    chance = random.Random(seed)
    connection = await Connection.to(port)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await asyncio.sleep(chance.expovariate(1 / _PAUSE))
        await _ask(connection, request, time.monotonic(), load)
    await connection.close()
    return load


async def _ask(connection: Connection, request: bytes, due: float, load: Load) -> None:
    answer = await connection.ask(request)
    if answer.status == 200:
        load.latencies.append(answer.ended - due)
        load.events += answer.events
    else:
        load.failed += 1
