"""HTTP/1.1 between hypercorn's connections and the application.

hypercorn's own makes several objects and tasks of each request and each piece of an answer. Here
h11 reads requests and decides how an answer is framed; what repeats is written without it.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from starlette.types import Scope

from cupola.gateway.http1_stream import Headers, Stream

_MOST_AHEAD = 64 * 1024  # bytes behind a request that are held until it is answered
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CHUNKED = b"transfer-encoding: chunked\r\n"


class Http1(H11Protocol):
    """HTTP/1.1 and nothing else.

    hypercorn would also speak HTTP/2 over plain connections, which no client here needs. There a
    client that leaves at once can keep an answer, and its connection, open for ever. A request to
    upgrade, to HTTP/2 or to a WebSocket, is answered in HTTP/1.1, as RFC 9110 7.8 allows.

    The head of an answer and the first piece of its body go out together: each write is a call of
    the system for the server and for its client.

    hypercorn reads nothing while a further request waits for the end of an answer, and does not
    notice that the client has gone. Here reading goes on until there are ``_MOST_AHEAD`` bytes.
    """

    connection: h11.Connection
    _held = b""  # the head of an answer, for a turn of the loop at most
    _chunked = False  # how the answer is framed
    _flushing: asyncio.Handle | None = None
    _over = False  # the connection: no request begins any more

    def __init__(self, *hypercorns: Any) -> None:
        super().__init__(*hypercorns)
        self._handling = asyncio.Lock()  # by who reads, or after an answer

    async def handle(self, event: Event) -> None:
        """Returns when more may be read."""
        if not isinstance(event, RawData):
            await self._end_reading()
            await super().handle(event)
        elif not event.data:
            await self._take_end()
        elif self._wants_more():
            self.connection.receive_data(event.data)
            await self._handle_events()
            while self._wants_more() and len(self.connection.trailing_data[0]) >= _MOST_AHEAD:
                await self.can_read.clear()
                await self.can_read.wait()

    async def _take_end(self) -> None:
        """The client sends nothing more. Returns when it has its answers.

        One that has gone looks the same as one that still reads (``shutdown(SHUT_WR)``, ``nc -N``).
        So nothing is computed for it any more, and what takes no computing is answered.
        """
        if self._wants_more():
            self.connection.receive_data(b"")
        while not self._over:
            await self._handle_events()
            if self._over or self.stream is None:
                break
            self._own_stream().leave()
            await self.can_read.clear()
            await self.can_read.wait()

    def _wants_more(self) -> bool:
        """What follows the last request of a connection is no fault of that request."""
        return not self._over and self.connection.their_state is not h11.MUST_CLOSE

    async def _end_reading(self) -> None:
        self._over = True
        await self.can_read.set()

    async def _handle_events(self) -> None:
        async with self._handling:
            await self._hand_on()

    async def _handle_waiting(self) -> None:
        """Begin the request that has waited for the end of an answer."""
        await self._handle_events()
        await self.can_read.set()
        await self.send(Updated(idle=self.stream is None))  # from now it must come in time

    async def _hand_on(self) -> None:
        """Hand on all that has been received."""
        while self._wants_more():
            if self._drop_empty_lines():
                return None
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self.refuse(error.error_status_hint)
                return await self._end()
            # Not ``isinstance``, which asks h11's abstract base class each time.
            if type(event) is h11.Request:
                if _has_two_lengths(event):
                    await self.refuse(400)
                    return await self._end()
                await self.send(Updated(idle=False))
                self._begin(event)
            elif event is h11.PAUSED or self.stream is None:
                return None
            elif type(event) is h11.Data:
                await self._own_stream().take(bytes(event.data))
            elif type(event) is h11.EndOfMessage:
                return await self._own_stream().hand_over(whole=True)
            else:
                return await self._own_stream().hand_over()

    def _drop_empty_lines(self) -> bool:
        """Some clients send one behind a body (RFC 9112 2.2). h11 would refuse it.

        Returns whether the rest of such a line has still to come.
        """
        if self.connection.their_state is not h11.IDLE:
            return False
        data, ended = self.connection.trailing_data
        begin = 0
        while data.startswith(b"\r\n", begin):
            begin += 2
        if not begin:
            return data == b"\r"
        self.connection = h11.Connection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )
        if data := data[begin:]:  # to h11 nothing is the end of the connection
            self.connection.receive_data(data)
        if ended:
            self.connection.receive_data(b"")
        return data == b"\r"

    async def _end(self) -> None:
        await self._end_reading()
        await self.send(Closed())

    def _own_stream(self) -> Stream:
        return cast(Stream, self.stream)

    def _begin(self, request: h11.Request) -> None:
        stream = Stream(self, self._scope(request))
        self.stream = cast(Any, stream)  # hypercorn calls its ``handle``, and nothing else
        self.task_group.spawn(stream.run)
        self.keep_alive_requests += 1

    def _scope(self, request: h11.Request) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "http_version": request.http_version.decode(),
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": request.method.decode("ascii").upper(),
            "scheme": "https" if self.ssl else "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": self.config.root_path,
            "headers": list(request.headers),
            "client": self.client,
            "server": self.server,
            "state": self.connection_state.copy(),
            "extensions": {},
        }

    async def stream_send(self, event: StreamEvent) -> None:
        """hypercorn's way to answer, which no stream here goes."""
        raise NotImplementedError

    # -- answers: begin, pieces of which one is the last, end --------------------------------------

    def begin_answer(self, status: int, headers: Headers) -> None:
        """What frames the answer goes through h11; it would check each of the others twice."""
        framing: Headers = []
        lines: list[bytes] = []
        for name, value in (*headers, *self.config.response_headers("h11")):
            if (name := name.lower()) in _FRAMING:
                framing.append((name, value))
            else:
                lines.append(b"%b: %b\r\n" % (name, value))
        if self.keep_alive_requests > self.config.keep_alive_max_requests:
            framing.append((b"connection", b"close"))
        others = b"".join(lines)
        if not others.count(b"\r") == others.count(b"\n") == len(lines):
            raise ValueError("a header of the answer has more than one line")
        head = self._framed(_framing_of(status, tuple(framing)))
        self._chunked = _CHUNKED in head.lower()
        self._held = head and head.removesuffix(b"\r\n") + others + b"\r\n"
        self._flushing = asyncio.get_running_loop().call_soon(self._flush_soon)

    async def send_piece(self, data: bytes, more: bool) -> None:
        if data and self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif data:
            data = self._framed(h11.Data(data=data))
        if not more:
            data += self._framed(h11.EndOfMessage())
        await self._flush(data)

    async def end_answer(self) -> None:
        await self._maybe_recycle()
        if self.connection.our_state is not h11.IDLE:
            await self._end_reading()  # the connection is closed
        elif self.connection.trailing_data[0]:
            self.task_group.spawn(self._handle_waiting)

    async def go_on(self) -> None:
        """Ask a client for its body that waits to be asked."""
        if self.connection.they_are_waiting_for_100_continue:
            await self.send(RawData(data=self._framed(_go_on())))

    async def refuse(self, status: int) -> None:
        self.begin_answer(status, [(b"content-length", b"0"), (b"connection", b"close")])
        await self.send_piece(b"", more=False)

    def _framed(self, event: Any) -> bytes:
        """Nothing where the client has broken the protocol: it gets no answer any more."""
        try:
            return self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return b""

    def _flush_soon(self) -> None:
        self._flushing = None
        if self._held:
            self.task_group.spawn(self._flush)

    async def _flush(self, data: bytes = b"") -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        data, self._held = self._held + data, b""
        if data:
            await self.send(RawData(data=data))


@lru_cache(maxsize=1024)
def _framing_of(status: int, framing: tuple[tuple[bytes, bytes], ...]) -> h11.Response:
    """What h11 is told of an answer. Streams are told alike, and whole answers of one length."""
    return h11.Response(status_code=status, headers=list(framing))


def _has_two_lengths(request: h11.Request) -> bool:
    """A proxy may go by the other one, and see another end of the request (RFC 9112 6.1)."""
    names = {name for name, _ in request.headers}
    return b"content-length" in names and b"transfer-encoding" in names


def _go_on() -> h11.InformationalResponse:
    return h11.InformationalResponse(status_code=100, headers=[])
