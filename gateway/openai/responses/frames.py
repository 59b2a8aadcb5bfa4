"""A response as it goes over the wire: whole, or as a stream of events."""

from __future__ import annotations

import msgspec

from cupola.gateway.core.events import Event
from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE
from cupola.gateway.openai.responses.progress import Progress


class ResponseFrames:
    """See ``streaming.Frames``. ``progress`` is fed before, so what is sent is stored by then."""

    stream_type = SSE

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def whole(self, events: list[Event]) -> bytes:
        return msgspec.json.encode(self._progress.record)

    def begin(self) -> bytes:
        return b""

    def encode(self, events: list[Event]) -> bytes:
        return self._progress.take()

    def idle(self) -> bytes:
        return self._progress.take() or KEEP_ALIVE

    def end(self) -> bytes:
        return self._progress.take() + DONE  # Foundry Local sends it, OpenAI's clients take it

    def failure(self, error: ApiError) -> bytes:
        return self._progress.take() + DONE
