"""Sends a generation to its client, streamed or whole, in the frames of any API.

Both kinds of answer take one path. A client that goes away ends the generation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cupola.gateway.core.events import Event, PromptRead
from cupola.gateway.generation.collected import without_stopped_calls
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError, RequestFailed, from_failure

SSE = b"text/event-stream; charset=utf-8"
ROOM = "x-cupola-max-tokens"  # the limit on new tokens, where the context holds no more


class Frames(Protocol):
    """How one API words what happens in a generation. Each API has its own. No I/O."""

    stream_type: bytes  # the content-type of a streamed answer

    def whole(self, events: list[Event]) -> bytes:
        """The JSON body of an answer that is not streamed."""

    def begin(self) -> bytes:
        """The first frames of a stream. May be empty."""

    def encode(self, events: list[Event]) -> bytes:
        """The frames of some events. May be empty."""

    def idle(self) -> bytes:
        """Something to send when nothing happens, so that the connection is not taken for dead."""

    def end(self) -> bytes:
        """The last frames of a stream that came to its end."""

    def failure(self, error: ApiError) -> bytes:
        """The last frames of a stream that failed."""


class Answer:
    """An ASGI response. ``events``: those of ``generator.Generation``. Raises RequestFailed."""

    def __init__(
        self, events: AsyncGenerator[list[Event]], frames: Frames, *, stream: bool
    ) -> None:
        self._events = events
        self._frames = frames
        self._streamed = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with cancelled_on_disconnect(scope, receive):
            async with aclosing(self._events):
                # What fails before the headers are sent gets an HTTP status: see error_formats.
                batch = await anext(self._events)
                if self._streamed:
                    await self._stream(batch, send)
                else:
                    response = await self._collect(batch)
                    await response(scope, receive, send)

    async def _collect(self, events: list[Event]) -> Response:
        async for batch in self._events:
            events += batch
        whole = self._frames.whole(without_stopped_calls(events))
        return Response(whole, headers=_room(events), media_type="application/json")

    async def _stream(self, batch: list[Event], send: Send) -> None:
        headers = [
            (b"content-type", self._frames.stream_type),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
            *((name.encode(), value.encode()) for name, value in _room(batch).items()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = self._frames.begin() + self._encode(batch)
        try:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            async for batch in self._events:
                body = self._encode(batch)
                await send({"type": "http.response.body", "body": body, "more_body": True})
            end = self._frames.end()
        except RequestFailed as failed:
            end = self._frames.failure(from_failure(failed))
        await send({"type": "http.response.body", "body": end})

    def _encode(self, batch: list[Event]) -> bytes:
        return self._frames.encode(batch) if batch else self._frames.idle()


def _room(events: list[Event]) -> dict[str, str]:
    """The header that tells of a shortened limit. Of several prompts, the least is told."""
    rooms = [event.room for event in events if isinstance(event, PromptRead) and event.room]
    return {ROOM: str(min(rooms))} if rooms else {}
