"""The course of a soak: apps, floods, kills, and looks at the memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import httpx2

from cupola.loadtests.chaos.account import Account
from cupola.loadtests.chaos.apps import Apps
from cupola.loadtests.chaos.service import Service

FLOOD = 40  # requests at once
SETTLE_SECONDS = 60  # in which a service must come to rest


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


def rest(service: Service) -> float:
    """Wait until nothing runs or waits. Returns what still does after a while."""
    end = time.monotonic() + SETTLE_SECONDS
    while (busy := service.busy()) and time.monotonic() < end:
        time.sleep(0.5)
    return busy
