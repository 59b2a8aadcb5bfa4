"""One request of HTTP/1.1 and its answer, as the application sees them."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from typing import Protocol

from hypercorn.config import Config
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.typing import AppWrapper
from hypercorn.utils import suppress_body
from starlette.types import Message, Scope

from cupola.gateway.http.disconnect import CLIENT_CLOSED_REQUEST, Disconnect

_MOST_WAITING = 10  # pieces of a body that the application has not taken yet

Headers = list[tuple[bytes, bytes]]


class Answering(Protocol):
    """What a stream needs of its connection: an answer begins, has pieces, and ends."""

    app: AppWrapper
    config: Config

    async def go_on(self) -> None:
        """Ask a client for its body that waits to be asked."""

    def begin_answer(self, status: int, headers: Headers) -> None: ...

    async def send_piece(self, data: bytes, more: bool) -> None: ...

    async def end_answer(self) -> None: ...

    async def refuse(self, status: int) -> None:
        """A whole answer without a body."""


class _State(Enum):
    BEFORE = auto()
    WITHIN = auto()
    AFTER = auto()


class Stream:
    """One request and its answer: the application's ``receive`` and ``send``."""

    def __init__(self, protocol: Answering, scope: Scope) -> None:
        self._protocol = protocol
        self._scope = scope
        self._answer = _State.BEFORE
        self._has_body = True  # the answer
        self._closed = False
        self._left = False
        self._piece = b""  # the last one that came: whether it is the last of all is not known yet
        self._inbox: deque[Message] = deque()
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._disconnect = Disconnect()
        self._disconnect.note_in(scope)

    async def run(self) -> None:
        app = self._protocol.app
        try:
            await app(self._scope, self.receive, self.send, _no_threads, _no_threads)  # type: ignore[arg-type]  # hypercorn's types of messages are its own
        except Exception:
            await self._protocol.config.log.exception("the application failed")
        finally:
            if not self._closed:
                if self._answer is _State.BEFORE:
                    await self._protocol.refuse(CLIENT_CLOSED_REQUEST if self._left else 500)
                await self._protocol.end_answer()

    # -- the request -------------------------------------------------------------------------------

    async def take(self, piece: bytes) -> None:
        if self._piece:
            await self.hand_over()
        self._piece = piece

    async def hand_over(self, whole: bool = False) -> None:
        """Give the application what has come. ``whole``: it is the end of the body."""
        if self._piece or whole:
            piece, self._piece = self._piece, b""
            self._put({"type": "http.request", "body": piece, "more_body": not whole})
        while len(self._inbox) >= _MOST_WAITING and not self._closed:
            self._taken.clear()
            await self._taken.wait()

    async def handle(self, event: StreamEvent) -> None:
        """hypercorn tells of the end: of the answer, or of the connection."""
        if not self._closed:
            self._closed = True
            self._taken.set()
            self.leave()

    def leave(self) -> None:
        """The client has gone, or at least sends nothing more."""
        if not self._left:
            self._left = True
            self._put({"type": "http.disconnect"})
            if self._answer is not _State.AFTER:
                self._disconnect.happen()

    def _put(self, message: Message) -> None:
        self._inbox.append(message)
        self._came.set()

    async def receive(self) -> Message:
        if not self._inbox:
            await self._protocol.go_on()
        while not self._inbox:
            self._came.clear()
            await self._came.wait()
        if len(self._inbox) == 1 and self._left:
            return self._inbox[0]  # whoever asks again hears it again
        self._taken.set()
        return self._inbox.popleft()

    # -- the answer --------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        match message["type"], self._answer:
            case "http.response.start", _State.BEFORE:
                self._has_body = not suppress_body(self._scope["method"], message["status"])
                self._protocol.begin_answer(message["status"], list(message.get("headers", ())))
                self._answer = _State.WITHIN
            case "http.response.body", _State.WITHIN:
                body = message.get("body", b"") if self._has_body else b""
                more = message.get("more_body", False)
                await self._protocol.send_piece(body, more)
                if not more:
                    self._answer = _State.AFTER
                    await self._protocol.end_answer()
            case kind, state:
                raise RuntimeError(f"the application sent {kind}, {state.name} its answer")


def _no_threads(*_: object) -> None:
    """hypercorn's way to run what is no coroutine."""
    raise NotImplementedError
