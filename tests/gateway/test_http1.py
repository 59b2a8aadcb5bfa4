"""What goes over the wire in HTTP/1.1, whatever the application is."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.gateway.connection import ConnectionLimits
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.server import serve_app
from tests.gateway.running_gateway import WAIT, RunningGateway, read_all, read_until, status_of

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


class NoScheduler:
    def end_all(self, *_: object) -> None:
        """There is nothing open."""


@contextmanager
def served(
    app: ASGIApp, limits: ConnectionLimits | None = None
) -> Iterator[Callable[[], socket.socket]]:
    """Serve ``app`` as the gateway is served. Gives what connects to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    began = threading.Event()

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            began.set()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    loop = asyncio.SelectorEventLoop()
    stop = asyncio.Event()

    async def main() -> None:
        client = cast(SchedulerClient, NoScheduler())
        app = cast(Starlette, whole)
        await serve_app(app, client, [listener], stop, WAIT, limits or ConnectionLimits())

    thread = threading.Thread(target=loop.run_until_complete, args=[main()], daemon=True)
    thread.start()
    assert began.wait(WAIT)
    try:
        yield lambda: socket.create_connection(address, timeout=WAIT)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        loop.close()


async def streams(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one ", b"", b"two"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


def ask(app: ASGIApp, *sent: bytes) -> bytes:
    with served(app) as connect, connect() as connection:
        for each in sent:
            connection.sendall(each)
        return read_all(connection)


def test_a_stream_is_chunked() -> None:
    answer = ask(streams, GET + b"Connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head.lower()
    assert body == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"


def test_a_client_of_http_1_0_gets_a_stream_until_the_end_of_the_connection() -> None:
    answer = ask(streams, b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"one two"


def test_the_answer_to_head_has_no_body() -> None:
    answer = ask(streams, GET.replace(b"GET", b"HEAD") + b"Connection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert status_of(answer) == 200


async def echoes(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


def test_a_body_comes_whole_however_it_is_sent() -> None:
    chunks = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with served(echoes) as connect, connect() as connection:
        connection.sendall(POST + chunks + b"3\r\nabc\r\n")
        connection.sendall(b"2\r\nde\r\n1\r\nf\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert read_all(connection).endswith(b"\r\n\r\nabcdef")


def test_a_body_of_many_pieces_waits_for_who_reads_slowly() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await echoes(scope, receive, send)

    pieces = [b"%x\r\n%b\r\n" % (7, b"%07d" % number) for number in range(2000)]
    head = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = ask(slow, head, *pieces, b"0\r\n\r\n")
    assert answer.partition(b"\r\n\r\n")[2] == b"".join(b"%07d" % n for n in range(2000))


def test_an_application_that_reads_no_body_answers_all_the_same() -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    with served(streams) as connect, connect() as connection:
        # In one piece: the connection may be closed before all of it has been read.
        connection.sendall(head + b"1\r\nx\r\n" * 50 + b"0\r\n\r\n")
        read_until(connection, b"two")


def test_who_waits_for_100_continue_gets_it_and_then_the_answer() -> None:
    head = b"Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with served(echoes) as connect, connect() as connection:
        connection.sendall(POST + head)
        assert status_of(read_until(connection, b"\r\n\r\n")) == 100
        connection.sendall(b"abc")
        assert read_all(connection).endswith(b"\r\n\r\nabc")


def test_who_waits_for_100_continue_is_not_asked_for_a_body_that_nobody_reads() -> None:
    answer = ask(streams, POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert status_of(answer) == 200


@pytest.mark.parametrize("before", [b"", POST + b"\r\n"], ids=["alone", "behind another"])
@pytest.mark.parametrize("swapped", [True, False])
def test_a_request_with_two_lengths_is_refused_and_the_last(before: bytes, swapped: bool) -> None:
    lengths = [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
    head = POST + b"".join(reversed(lengths) if swapped else lengths) + b"\r\n"
    answer = ask(echoes, before + head + b"0\r\n\r\n" + GET + b"\r\n")
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == ([200, 400] if before else [400])


def test_requests_that_come_together_are_answered_in_their_order() -> None:
    one = POST + b"Content-Length: 1\r\n\r\n"
    last = POST + b"Content-Length: 1\r\nConnection: close\r\n\r\n"
    answer = ask(echoes, one + b"1" + one + b"2" + last + b"3")
    assert [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200")[1:]] == [
        b"1", b"2", b"3",
    ]  # fmt: skip


class Held:
    """An application that answers with the body, and not before ``go_on``."""

    def __init__(self) -> None:
        self.came, self.gone = threading.Event(), threading.Event()
        self._may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        self.came.set()
        with cancelled_on_disconnect(scope, receive):
            await self._may_answer.wait()
            return await echoes(scope, receive, send)
        self.gone.set()

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._may_answer.set)


ONE = POST + b"Content-Length: 1\r\n\r\n1"
LAST = POST + b"Content-Length: 1\r\nConnection: close\r\n\r\n2"
UPGRADE = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n1"


@pytest.mark.parametrize("request_sent", [ONE, UPGRADE], ids=["plain", "upgrade"])
@pytest.mark.parametrize(
    "behind",
    [b"", b"G", b"\r\n", ONE, ONE * 500],
    ids=["nothing", "a byte", "an empty line", "a request", "many requests"],
)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("resets", [True, False])
def test_a_client_that_has_gone_is_noticed_whatever_it_sent_behind_its_request(
    request_sent: bytes, behind: bytes, together: bool, resets: bool
) -> None:
    app = Held()
    with served(app) as connect:
        with connect() as connection:
            connection.sendall(request_sent + behind if together else request_sent)
            assert app.came.wait(WAIT)
            if not together:
                connection.sendall(behind)
            if resets:
                linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert app.gone.wait(WAIT)


async def answers_in_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes no notice of the end of what the client sends, but that it waits for it."""
    body = b""
    while (message := await receive())["type"] != "http.disconnect":
        body += message["body"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("together", [True, False])
def test_who_sends_no_more_gets_the_answers_all_the_same(together: bool) -> None:
    old = b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n3"
    for sent, bodies in ((ONE, [b"1"]), (LAST, [b"2"]), (old, [b"3"]), (ONE + LAST, [b"1", b"2"])):
        with served(answers_in_the_end) as connect, connect() as connection:
            connection.sendall(sent)
            if not together:
                time.sleep(0.05)  # the gateway reads the end alone
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        parts = answer.split(b"HTTP/1.1 200")
        assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [b"", *bodies], sent


def test_who_sends_no_more_is_told_what_was_not_done() -> None:
    app = Held()
    with served(app) as connect, connect() as connection:
        connection.sendall(ONE)
        assert app.came.wait(WAIT)
        connection.shutdown(socket.SHUT_WR)
        assert app.gone.wait(WAIT)
        assert status_of(read_all(connection)) == 499


def test_what_comes_behind_a_request_is_not_held_without_limit() -> None:
    app = Held()
    with served(app) as connect, connect() as connection:
        connection.sendall(ONE)
        assert app.came.wait(WAIT)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):  # more than the buffers of the system hold
            connection.sendall(ONE * 500_000)
        connection.settimeout(WAIT)
        app.go_on()
        assert status_of(read_until(connection, b"\r\n\r\n1")) == 200


def test_many_requests_behind_one_that_waits_are_answered_in_their_order() -> None:
    app = Held()
    bodies = [b"%0*d" % (1 + number % 3000, number) for number in range(300)]
    sent = [POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies]
    with served(app) as connect, connect() as connection:
        connection.sendall(ONE)
        assert app.came.wait(WAIT)
        writer = threading.Thread(target=connection.sendall, args=[b"".join(sent) + LAST])
        writer.start()
        app.go_on()
        answer = read_all(connection)
        writer.join(WAIT)
    answers = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200")[1:]]
    assert answers == [b"1", *bodies, b"2"]


@pytest.mark.parametrize("empty", [[b"\r\n"], [b"\r", b"\n"], [b"\r\n\r\n"]])
@pytest.mark.parametrize("answered", [True, False])
def test_an_empty_line_behind_a_body_is_nothing(empty: list[bytes], answered: bool) -> None:
    app = Held()
    with served(app) as connect, connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(ONE)
        assert app.came.wait(WAIT)
        if answered:
            app.go_on()
            read_until(connection, b"\r\n\r\n1")
        for piece in empty:
            connection.sendall(piece)
            time.sleep(0.05)  # the gateway reads each piece alone
        app.go_on()
        if not answered:
            read_until(connection, b"\r\n\r\n1")
        connection.sendall(LAST)
        answer = read_all(connection)
    assert status_of(answer) == 200 and answer.endswith(b"\r\n\r\n2")


def test_what_comes_behind_a_request_does_not_shorten_its_answer() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)  # longer than a request may take to come
        await echoes(scope, receive, send)

    limits = ConnectionLimits(request_seconds=0.1)
    with served(slow, limits) as connect, connect() as connection:
        connection.sendall(ONE + LAST[:10])
        assert status_of(read_until(connection, b"\r\n\r\n1")) == 200
        read_all(connection)  # the other one does not come in time


@pytest.mark.parametrize("more", [b"\r\n", b"garbage", POST + b"\r\n", b"x" * 200_000])
@pytest.mark.parametrize("together", [True, False])
def test_what_follows_the_last_request_does_not_cost_its_answer(
    more: bytes, together: bool
) -> None:
    last = POST + b"Content-Length: 1\r\nConnection: close\r\n\r\n3"
    came, go_on = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        loops.append(asyncio.get_running_loop())
        came.set()
        await go_on.wait()
        await echoes(scope, receive, send)

    with served(waits) as connect, connect() as connection:
        connection.sendall(last + more if together else last)
        assert came.wait(WAIT)
        if not together:
            connection.sendall(more)
        loops[0].call_soon_threadsafe(go_on.set)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n3")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\n", b"\r"])
def test_a_header_of_an_answer_has_one_line(value: bytes) -> None:
    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", value)]})

    answer = ask(careless, GET + b"Connection: close\r\n\r\n")
    assert b"set-cookie" not in answer
    assert status_of(answer) == 500


def test_an_answer_that_fails_on_the_way_is_cut() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise RuntimeError("for this test")

    answer = ask(fails, GET + b"\r\n")
    assert answer.endswith(b"3\r\none\r\n")  # without the end of chunks


def test_an_upgrade_to_a_web_socket_is_answered_in_http(gateway: RunningGateway) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with gateway.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + upgrade + key)
        assert status_of(read_until(connection, b"}")) == 200
