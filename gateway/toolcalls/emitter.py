"""Collects what a parser finds in an answer, as events. Pure."""

from __future__ import annotations

from collections.abc import Callable

from cupola.gateway.core.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)


class Emitter:
    """Collects events; adjacent pieces of one kind become one event."""

    def __init__(self, index: int, new_id: Callable[[], str], parallel: bool) -> None:
        self.calls = 0
        self._index = index
        self._new_id = new_id
        self._parallel = parallel
        self._muted = False  # the call that is being read is one too many
        self._events: list[Event] = []
        self._kind: type[Event] | None = None
        self._pieces: list[str] = []

    def text(self, text: str) -> None:
        self._add(TextDelta, text)

    def reasoning(self, text: str) -> None:
        self._add(ReasoningDelta, text)

    def begin(self, name: str) -> None:
        self._muted = self.calls > 0 and not self._parallel
        if not self._muted:
            self._flush()
            self._events.append(ToolCallStart(self._index, self.calls, self._new_id(), name))
            self.calls += 1

    def argue(self, fragment: str) -> None:
        if not self._muted:
            self._add(ToolCallArguments, fragment)

    def take(self) -> list[Event]:
        self._flush()
        events, self._events = self._events, []
        return events

    def _add(self, kind: type[Event], text: str) -> None:
        if text:
            if self._kind is not kind:
                self._flush()
                self._kind = kind
            self._pieces.append(text)

    def _flush(self) -> None:
        text, self._pieces = "".join(self._pieces), []
        if not text:
            return
        if self._kind is ToolCallArguments:
            self._events.append(ToolCallArguments(self._index, self.calls - 1, text))
        elif self._kind is ReasoningDelta:
            self._events.append(ReasoningDelta(self._index, text))
        else:
            self._events.append(TextDelta(self._index, text))


class Trim:
    """Passes text on without the white space at its end, which comes with what follows it."""

    def __init__(self, *, strip_start: bool = False) -> None:
        self.strip_start = strip_start
        self.blank = True  # nothing has been passed on
        self.space = ""

    def feed(self, text: str) -> str:
        text = self.space + text
        if self.blank and self.strip_start:
            text = text.lstrip()
        kept = text.rstrip()
        self.space = text[len(kept) :]
        self.blank = self.blank and not kept
        return kept
