"""Turns a generation's events into the growth of a response and its frames. Pure."""

from __future__ import annotations

import time

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    Reason,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.responses import record as records
from cupola.gateway.openai.responses.answers import ItemStatus, ResponseObject
from cupola.gateway.openai.responses.events import (
    Completed,
    Created,
    Failed,
    Incomplete,
    InProgress,
    Queued,
    StreamEvent,
)
from cupola.gateway.openai.responses.items import (
    OpenCall,
    OpenCustomCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
)
from cupola.scheduler.protocol.outputs import TokenLogprob


class Progress:
    """``record`` is the response as it stands. ``stream``: whether ``take`` is to have frames."""

    def __init__(self, record: ResponseObject, *, stream: bool, logprobs: bool = False) -> None:
        self.record = record
        self.begun = False  # whether anything has happened
        self.streamed = stream
        self._created = False  # whether the stream has told of it
        self._logprobs = logprobs
        self._frames: list[bytes] = []
        self._last: StreamEvent | None = None  # it tells whether the response was stored
        self._sequence = 0
        self._open: OpenItem | None = None
        self._tokens: list[TokenLogprob] = []  # that wait for the text they belong to
        self._reason: Reason = "stop"

    @property
    def ended(self) -> bool:
        return self.record.ended

    def take(self) -> bytes:
        """The frames since the last time."""
        return b"".join(self.take_frames())

    def take_frames(self) -> list[bytes]:
        """The same, one for each event."""
        if self._last is not None:
            self._emit(self._last)
            self._last = None
        frames, self._frames = self._frames, []
        return frames

    def wait(self) -> None:
        """Tell of a response whose work has yet to begin."""
        self._created = True
        self._emit(Created(response=self.record))
        self._emit(Queued(response=self.record))

    def feed(self, events: list[Event]) -> None:
        if not self.begun:
            self.begun = True
            self.record.status = "in_progress"
            if not self._created:
                self._emit(Created(response=self.record))
            self._emit(InProgress(response=self.record))
        for event in events:
            self._feed(event)

    def fail(self, error: ApiError) -> None:
        """End the response with ``error``."""
        if self._open is not None:
            self._close("incomplete")
        records.fail(self.record, error)
        self._last = Failed(response=self.record)

    def _feed(self, event: Event) -> None:
        match event:
            case Logprobs(_, tokens) if self._logprobs:
                self._tokens += tokens
            case TextDelta(_, text):
                self._message().add(text, self._tokens)
            case ReasoningDelta(_, text):
                if not isinstance(self._open, OpenReasoning):
                    self._next(OpenReasoning(self._index(), self._emit))
                assert isinstance(self._open, OpenReasoning)
                self._open.add(text)
            case ToolCallStart():
                kind = OpenCustomCall if event.custom else OpenCall
                self._next(kind(self._index(), self._emit, event.id, event.name))
            case ToolCallArguments(_, _, fragment):
                assert isinstance(self._open, OpenCall | OpenCustomCall)
                self._open.add(fragment)
            case Finished():
                self._finish(event)
            case UsageTotal():
                records.finish(self.record, self._reason, event, int(time.time()))
                cut = self.record.status == "incomplete"
                self._last = (Incomplete if cut else Completed)(response=self.record)
        if not isinstance(event, Logprobs):
            self._tokens = []

    def _message(self) -> OpenMessage:
        if not isinstance(self._open, OpenMessage):
            self._next(OpenMessage(self._index(), self._emit))
        assert isinstance(self._open, OpenMessage)
        return self._open

    def _finish(self, event: Finished) -> None:
        self._reason = event.reason
        if self._open is None and not self.record.output:
            self._message()  # an answer without a word is a message as well
        if self._open is not None:
            cut = event.reason == "length" or event.cut_call
            self._close("incomplete" if cut else "completed")

    def _index(self) -> int:
        """Where the next item goes. Ends the item before it."""
        if self._open is not None:
            self._close("completed")
        return len(self.record.output)

    def _next(self, item: OpenItem) -> None:
        self._open = item

    def _close(self, status: ItemStatus) -> None:
        assert self._open is not None
        self.record.output.append(self._open.close(status))
        self._open = None

    def _emit(self, event: StreamEvent) -> None:
        if self.streamed:
            event.sequence_number = self._sequence
            self._frames.append(event.frame)
            self._sequence += 1
