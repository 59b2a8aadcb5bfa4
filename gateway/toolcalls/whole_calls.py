"""Reads calls as JSON at the beginning of an answer, where nothing marks them as calls. Pure.

    {"name": "f", "arguments": {…}}     several, a list of them, or in a block: ```json … ```

Text may begin with JSON as well. So a call is only taken as a whole: valid JSON with a name, the
arguments and nothing else, of a tool that there is. A block is taken when it has ended, and holds
nothing but calls.
"""

from __future__ import annotations

import json
from collections.abc import Container
from enum import Enum, auto
from typing import Any

from cupola.gateway.toolcalls.json_calls import (
    ARGUMENTS,
    IGNORED,
    Argue,
    Begin,
    JsonCallReader,
    JsonValue,
)
from cupola.gateway.toolcalls.readers import MAX_BLOCK, Call

_FENCE = "```"
_OPENINGS = (_FENCE, _FENCE + "json")


class _At(Enum):
    """Where in the text the reader is."""

    START = auto()
    OPENING = auto()  # in the line that opens a block
    VALUE = auto()
    IN_BLOCK = auto()  # between the values of a block
    CLOSING = auto()  # in the marks that close a block
    BETWEEN = auto()  # calls that were taken


class WholeCallReader:
    """See ``readers.Reader``. ``begin`` and ``argue`` are called for whole calls only."""

    def __init__(self, names: Container[str], begin: Begin, argue: Argue) -> None:
        self._names = names
        self._begin = begin
        self._argue = argue
        self.failed = False
        self._at = _At.START
        self._block = False
        self._calls: list[Call] = []  # of the block that is being read
        self._text: list[str] = []  # of the value or of the marks around a block
        self._length = 0
        self._value = JsonValue()
        self._early = self._follower()

    @property
    def at_rest(self) -> bool:
        return self._at is _At.BETWEEN

    def feed(self, char: str) -> None:
        self._length += 1
        self.failed = self._length > MAX_BLOCK
        match self._at:
            case _At.VALUE:
                self._in_value(char)
            case _At.OPENING if char != "{" and char != "[" and not char.isspace():
                self._text.append(char)
                opening = "".join(self._text)
                self.failed |= not any(known.startswith(opening) for known in _OPENINGS)
            case _At.OPENING:
                self._open_block(char)
            case _At.CLOSING:
                self._text.append(char)
                self._close_block("".join(self._text))
            case _ if char in "{[":
                self._start_value(char)
            case _ if char == "`":
                self._text = [char]
                self._at = _At.CLOSING if self._at is _At.IN_BLOCK else _At.OPENING
            case _:
                self.failed |= not char.isspace()

    def close(self) -> None:
        """A block whose last marks are missing has ended as well."""
        if self._at in (_At.IN_BLOCK, _At.CLOSING) and self._calls:
            self._take()
        self.failed |= self._at is not _At.BETWEEN

    # -- blocks ------------------------------------------------------------------------------------

    def _open_block(self, char: str) -> None:
        self.failed |= "".join(self._text) not in _OPENINGS
        self._block, self._at = True, _At.IN_BLOCK
        if char in "{[":
            self._start_value(char)

    def _close_block(self, marks: str) -> None:
        if marks == _FENCE and self._calls:
            self._take()
        else:
            self.failed |= marks == _FENCE or not _FENCE.startswith(marks)

    def _take(self) -> None:
        """What has been read is calls."""
        for name, arguments in self._calls:
            self._begin(name)
            self._argue(arguments)
        self._calls, self._block, self._at, self._length = [], False, _At.BETWEEN, 0

    # -- values ------------------------------------------------------------------------------------

    def _follower(self) -> JsonCallReader:
        """Tells of most other JSON early that it is no call, so that it is not held back."""
        return JsonCallReader(self._names, lambda name: None, lambda fragment: None)

    def _start_value(self, char: str) -> None:
        self._at = _At.VALUE
        self._text, self._value, self._early = [], JsonValue(), self._follower()
        self._in_value(char)

    def _in_value(self, char: str) -> None:
        self._text.append(char)
        self._value.feed(char)
        self._early.feed(char)
        self.failed |= self._early.failed
        if self._value.done and not self.failed:
            calls = _calls("".join(self._text), self._names)
            self._calls += calls
            self.failed = not calls
            self._at = _At.IN_BLOCK
            if calls and not self._block:
                self._take()


def _calls(text: str, names: Container[str]) -> list[Call]:
    """The calls that a JSON text consists of; empty: it is something else."""
    try:
        value = json.loads(text, strict=False)  # models write line breaks into strings
        calls = value if isinstance(value, list) else [value]
        return [_call(call, names) for call in calls]
    except (ValueError, RecursionError):
        return []


def _call(value: Any, names: Container[str]) -> Call:
    """Raises ValueError for what is no call."""
    if not isinstance(value, dict) or not value.keys() <= {"name", *ARGUMENTS, *IGNORED}:
        raise ValueError("no call")
    name = value.get("name")
    given = [value[key] for key in ARGUMENTS if key in value]
    if not isinstance(name, str) or name not in names or len(given) != 1:
        raise ValueError("no call of a tool")
    arguments = json.loads(given[0]) if isinstance(given[0], str) else given[0]
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    return name, _written(arguments)


def _written(arguments: dict[str, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only be written as an escape
        return json.dumps(arguments, allow_nan=False)
    return text
