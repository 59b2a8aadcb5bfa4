"""Reads answers in which markers set reasoning and tool calls off from the text. Pure.

    TEXT ──reasoning's start──> REASONING ──its end──> TEXT
    TEXT ──a call's start──> CALLS ──its end, or what is no call──> TEXT

What could be the beginning of a marker is held back until it is clear. What turns out to be no call
is text, with its marker: a request with tools never fails over what the model wrote.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto

from cupola.gateway.core.events import Event
from cupola.gateway.toolcalls.emitter import Emitter, Trim
from cupola.gateway.toolcalls.formats import AnswerFormat, Markers
from cupola.gateway.toolcalls.readers import BlockReader, Reader, make_reader
from cupola.gateway.toolcalls.scanner import find_first, held_back
from cupola.gateway.toolcalls.whole_calls import WholeCallReader


class _State(Enum):
    TEXT = auto()
    REASONING = auto()
    CALLS = auto()


class MarkedParser:
    """See ``parser.Parser``. ``names``: the tools that may be called; none: nothing is a call.

    ``calls_only``: a grammar lets the answer have calls and reasoning and nothing else. What is no
    call there is the beginning of one that was cut, and no text.
    """

    def __init__(
        self,
        answer_format: AnswerFormat,
        names: Collection[str],
        emitter: Emitter,
        *,
        in_reasoning: bool = False,
        calls_only: bool = False,
    ) -> None:
        self._emit = emitter
        self._calls_only = calls_only
        self._names = frozenset(names)
        self._format = answer_format.tools if names else None
        self._reasonings = {markers.start: markers for markers in answer_format.reasoning}
        self._starts = {m.start: m for m in self._format.markers} if self._format else {}
        noise = self._format.noise if self._format else ()
        self._marks = (*self._reasonings, *self._starts, *noise)
        self._held = ""
        self._text = Trim()
        self._thought = Trim(strip_start=True)
        self._state = _State.TEXT
        self._markers = Markers("")  # those that enclose what is being read
        self._reader: Reader | None = None
        self._unsure = ""  # of the calls, what may yet turn out to be text
        self._begun = False  # a call has begun since the last start marker
        self._tried = False  # the answer's beginning has been read as a call
        if in_reasoning and answer_format.reasoning:
            self._state, self._markers = _State.REASONING, answer_format.reasoning[0]

    def feed(self, text: str) -> list[Event]:
        self._held += text
        self._run(final=False)
        return self._emit.take()

    def finish(self, *, cut: bool = False) -> list[Event]:
        self._run(final=True)
        while self._state is _State.CALLS:
            if cut and isinstance(self._reader, BlockReader):
                self._give_up()  # a block is only a call as a whole
            else:
                self._close_calls()
            self._run(final=True)
        if not self._emit.calls and not self._calls_only:
            self._emit.text(self._text.space)
        return self._emit.take()

    def _run(self, *, final: bool) -> None:
        steps = {
            _State.TEXT: self._read_text,
            _State.REASONING: self._read_reasoning,
            _State.CALLS: self._read_calls,
        }
        while steps[self._state](final):
            pass

    # -- each returns whether there is more to read ------------------------------------------------

    def _read_text(self, final: bool) -> bool:
        if self._could_be_bare():
            start = self._held.lstrip()
            if not start and not final:
                return False
            if start[:1] in self._bare_starts():
                self._begin_calls(Markers(""), "")
                return True
        found = find_first(self._held, self._marks)
        if found is None:
            keep = 0 if final else held_back(self._held, self._marks)
            self._say(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        at, mark = found
        self._say(self._held[:at])
        self._held = self._held[at + len(mark) :]
        if mark in self._reasonings:
            self._state, self._markers = _State.REASONING, self._reasonings[mark]
            self._thought.blank = True
        elif mark in self._starts:
            self._begin_calls(self._starts[mark], mark)
        return True

    def _could_be_bare(self) -> bool:
        wanted = self._format is not None and (self._format.bare or self._format.whole)
        return wanted and self._text.blank and not self._emit.calls and not self._tried

    def _bare_starts(self) -> tuple[str, ...]:
        assert self._format is not None
        return ("{", "[", "`") if self._format.whole else ("{", "[")

    def _read_reasoning(self, final: bool) -> bool:
        marks = (self._markers.end, self._markers.start)  # some repeat the one in the prompt
        found = find_first(self._held, marks)
        if found is None:
            keep = 0 if final else held_back(self._held, marks)
            self._think(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        at, mark = found
        self._think(self._held[:at])
        self._held = self._held[at + len(mark) :]
        if mark == self._markers.end:
            self._state = _State.TEXT
            self._thought.space = ""
            self._text.strip_start = True
        return True

    def _read_calls(self, final: bool) -> bool:
        assert self._reader is not None
        for at, char in enumerate(self._held):
            if self._reader.at_rest:
                rest = self._held[at:]
                if mark := self._mark_at(rest):
                    self._held = rest[len(mark) :]
                    self._end_calls(mark)
                    return True
                if not final and any(m.startswith(rest) for m in self._marks_in_calls()):
                    self._held = rest
                    return False
            self._unsure += char
            self._reader.feed(char)
            if self._reader.failed:
                self._held = self._held[at + 1 :]
                self._give_up()
                return True
            if self._begun and self._reader.at_rest:
                self._unsure = ""
        self._held = ""
        return False

    # -- calls -------------------------------------------------------------------------------------

    def _marks_in_calls(self) -> tuple[str, ...]:
        end = (self._markers.end,) if self._markers.end else ()
        return (*end, *self._starts)

    def _mark_at(self, text: str) -> str:
        marks = [mark for mark in self._marks_in_calls() if text.startswith(mark)]
        return max(marks, key=len, default="")

    def _begin_calls(self, markers: Markers, mark: str) -> None:
        assert self._format is not None
        self._tried = True
        self._begun = False
        self._state, self._markers, self._unsure = _State.CALLS, markers, mark
        if self._format.whole and not mark:
            self._reader = WholeCallReader(self._names, self._begin, self._emit.argue)
        else:
            payload = self._format.payload
            self._reader = make_reader(payload, self._names, self._begin, self._emit.argue)

    def _begin(self, name: str) -> None:
        self._emit.begin(name)
        self._begun, self._unsure = True, ""
        self._text.space, self._text.strip_start = "", True

    def _end_calls(self, mark: str) -> None:
        is_end = mark == self._markers.end
        self._close_calls(mark if is_end else "")
        if not is_end:  # the next call, without an end of the last one
            self._begin_calls(self._starts[mark], mark)

    def _close_calls(self, mark: str = "") -> None:
        assert self._reader is not None
        self._reader.close()
        self._state = _State.TEXT
        if self._reader.failed:
            self._unsure += mark
            self._give_up()

    def _give_up(self) -> None:
        text, self._unsure = self._unsure, ""
        self._state = _State.TEXT
        if self._markers.start:
            self._say(text)
        else:
            self._held = text + self._held  # there may be markers in it

    def _say(self, text: str) -> None:
        if not self._calls_only:
            self._emit.text(self._text.feed(text))

    def _think(self, text: str) -> None:
        self._emit.reasoning(self._thought.feed(text))
