"""Work ends when its client goes away, however the server tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.types import Message, Scope

from cupola.gateway.http.disconnect import Disconnect, cancelled_on_disconnect

Leave = Callable[[], None]


def by_call() -> tuple[Scope, asyncio.Queue[Message], Leave]:
    """As this service's own server tells of it."""
    scope: Scope = {"type": "http"}
    disconnect = Disconnect()
    disconnect.note_in(scope)
    return scope, asyncio.Queue(), disconnect.happen


def by_message() -> tuple[Scope, asyncio.Queue[Message], Leave]:
    """As every ASGI server does."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    return {"type": "http"}, inbox, lambda: inbox.put_nowait({"type": "http.disconnect"})


WAYS = pytest.mark.parametrize("way", [by_call, by_message])
Way = Callable[[], tuple[Scope, asyncio.Queue[Message], Leave]]


@WAYS
@pytest.mark.parametrize("early", [True, False])
def test_the_block_ends_and_what_follows_goes_on(way: Way, early: bool) -> None:
    async def run() -> str:
        scope, inbox, leave = way()
        if early:
            leave()
        with cancelled_on_disconnect(scope, inbox.get):
            asyncio.get_running_loop().call_soon(leave)
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(run()) == "went on"


@WAYS
def test_who_finds_out_at_the_end_of_the_block_is_not_cancelled_after_it(way: Way) -> None:
    async def run() -> int:
        scope, inbox, leave = way()
        with cancelled_on_disconnect(scope, inbox.get):
            leave()  # as a write does that finds the connection closed
        for _ in range(3):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(run()) == 0


@WAYS
def test_who_is_cancelled_for_another_reason_stays_cancelled(way: Way) -> None:
    async def run() -> None:
        scope, inbox, leave = way()

        async def serve() -> None:
            with cancelled_on_disconnect(scope, inbox.get):
                await asyncio.Event().wait()

        serving = asyncio.create_task(serve())
        await asyncio.sleep(0)
        leave()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(run())
