"""The connections of the overhead run: where an answer ends, and what is counted of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from cupola.loadtests.overhead.background_load import background_load
from cupola.loadtests.overhead.connections import Connection, post
from cupola.loadtests.overhead.load import Load, closed, probed

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"
STREAM = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
)
FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def load_on(answer: bytes, piece: int) -> Load:
    """What two clients make of a server that answers so, in pieces of so many bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has gone
            while await reader.readuntil(b"}"):
                await send(writer)
        writer.close()

    async def send(writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(answer), piece):
            writer.write(answer[start : start + piece])
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await closed(port, post({"a": 1}), connections=2, seconds=0.05)

    return asyncio.run(run())


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize(("answer", "events"), [(WHOLE, 0), (STREAM, 2)])
def test_answers_and_events_are_counted(answer: bytes, events: int, piece: int) -> None:
    load = load_on(answer, piece)
    assert len(load.latencies) >= 2
    assert load.events == events * len(load.latencies)
    assert load.failed == 0


def test_refusals_are_no_answers() -> None:
    load = load_on(FULL, 1000)
    assert load.failed >= 2
    assert not load.latencies


def test_one_client_is_measured_beside_the_load_of_another_process() -> None:
    loud, quiet = post({"a": "loud"}), post({"a": "quiet"})
    came: list[bytes] = []
    both = asyncio.Event()
    serving: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has gone
            while head := await reader.readuntil(b"}"):
                came.append(head)
                both.set()
                writer.write(WHOLE)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            beside = background_load(port, loud, 500.0, 1)
            await asyncio.to_thread(beside.__enter__)
            try:
                await both.wait()
                load = await probed(port, quiet, seconds=0.05, seed=1)
            finally:
                await asyncio.to_thread(beside.__exit__, None, None, None)
            await asyncio.gather(*filter(None, serving))
            return load

    load = asyncio.run(run())
    assert load.failed == 0
    assert came.count(quiet) == len(load.latencies) > 0
    assert came.count(loud) > 0


def test_a_connection_that_closes_in_an_answer_is_an_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(STREAM[:60])
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            connection = await Connection.to(server.sockets[0].getsockname()[1])
            with pytest.raises(ConnectionError):
                await connection.ask(post({"a": 1}))
            await connection.close()

    asyncio.run(run())
