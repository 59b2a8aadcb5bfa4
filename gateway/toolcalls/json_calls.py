"""Reads tool calls that are written as JSON, character by character, while they come.

    {"name": "f", "arguments": {…}}     also "parameters", and wrapped in {"function": {…}}
    [{…}, {…}]    {…}; {…}    {…}\\n{…}

A reader says what it has understood so far. It holds a call back until it knows its name; from then
on the arguments pass through as they are written. ``failed`` means that the text is no call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from enum import Enum, auto

ARGUMENTS = ("arguments", "parameters")
IGNORED = ("id", "type", "index", "tool_call_id")  # that models add
_SPACE = " \t\r\n"
_MAX_KEY = 200  # characters

Begin = Callable[[str], None]
Argue = Callable[[str], None]


class JsonValue:
    """Follows one JSON value to its end. Lenient: what it lets pass need not be valid JSON."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._scalar = False

    def feed(self, char: str) -> bool:
        """Whether ``char`` belongs to the value. When it does not, the value has ended before."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
                self.done = self._depth == 0
            return True
        if self._scalar:
            if char in ",]};" or char in _SPACE:
                self.done = True
                return False
            return True
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            if self._depth < 0:
                self.done = True
                return False
            self.done = self._depth == 0
        elif self._depth == 0:
            self._scalar = True
        return True


class _At(Enum):
    """Where in the text of the calls the reader is."""

    BETWEEN = auto()  # calls
    KEY = auto()  # before a key, a comma or the end of the object
    IN_KEY = auto()
    COLON = auto()
    VALUE = auto()  # before a value
    IN_VALUE = auto()


class JsonCallReader:
    """``begin(name)`` is called for each call, and then ``argue(fragment)`` for its arguments."""

    def __init__(self, names: Container[str], begin: Begin, argue: Argue) -> None:
        self._names = names
        self._begin = begin
        self._argue = argue
        self.failed = False
        self.calls = 0  # that have begun
        self._at = _At.BETWEEN
        self._listed = False
        self._empty = False  # a list has been closed, if only one without calls
        self._wrapped = 0  # objects around the one with the name
        self._value = JsonValue()
        self._text = ""  # of the key or value that is being read
        self._key = ""
        self._name = ""
        self._arguments: str | None = None  # read before the name was known
        self._passing = False  # the arguments that are being read go out at once

    @property
    def at_rest(self) -> bool:
        """Whether no call is open: an end marker here is one."""
        return self._at is _At.BETWEEN

    def close(self) -> None:
        """The text of the calls ends here."""
        self.failed = self.failed or (not self.calls and not self._empty)

    def feed(self, char: str) -> None:
        match self._at:
            case _At.BETWEEN:
                self._between(char)
            case _At.KEY:
                self._before_key(char)
            case _At.IN_KEY:
                self._in_key(char)
            case _At.COLON:
                if char == ":":
                    self._at = _At.VALUE
                elif char not in _SPACE:
                    self._fail()
            case _At.VALUE:
                self._before_value(char)
            case _At.IN_VALUE:
                self._in_value(char)

    def _between(self, char: str) -> None:
        if char == "{":
            self._name, self._arguments, self._passing, self._wrapped = "", None, False, 0
            self._at = _At.KEY
        elif char == "[" and not self._listed:
            self._listed = True
        elif char == "]" and self._listed:
            self._listed, self._empty = False, True
        elif char not in _SPACE and (char not in ",;" or not self.calls):
            self.failed = True

    def _before_key(self, char: str) -> None:
        if char == '"':
            self._value, self._text = JsonValue(), char
            self._value.feed(char)
            self._at = _At.IN_KEY
        elif char == "}":
            self._close()
        elif char not in _SPACE and char != ",":
            self._fail()

    def _in_key(self, char: str) -> None:
        self._text += char
        self._value.feed(char)
        if self._value.done:
            self._key = _string(self._text)
            self._at = _At.COLON
            if self._key not in (*ARGUMENTS, *IGNORED, "name", "function"):
                self._fail()
        elif len(self._text) > _MAX_KEY:
            self._fail()

    def _fail(self) -> None:
        """Once a call has been sent there is no way back: what is odd in it is skipped."""
        self.failed = not self._name

    def _before_value(self, char: str) -> None:
        if char in _SPACE:
            return
        if self._key == "function" and char == "{":
            self._wrapped += 1
            self._at = _At.KEY
            return
        self._value, self._text = JsonValue(), ""
        self._passing = self._key in ARGUMENTS and bool(self._name) and char == "{"
        self._at = _At.IN_VALUE
        self._in_value(char)

    def _in_value(self, char: str) -> None:
        if not self._value.feed(char):
            self._end_value()
            self.feed(char)
        else:
            if self._passing:
                self._argue(char)
            else:
                self._text += char
            if self._value.done:
                self._end_value()

    def _end_value(self) -> None:
        self._at = _At.KEY
        if self._passing:
            self._passing, self._arguments = False, ""
        elif self._key in ("name", "function") and not self._name:
            self._named(_string(self._text))
        elif self._key in ARGUMENTS and self._arguments is None:
            self._arguments = _object(self._text)
            if self._name:
                self._argue(self._arguments)

    def _named(self, name: str) -> None:
        if name not in self._names:
            self.failed = True
            return
        self._name = name
        self.calls += 1
        self._begin(name)
        if self._arguments is not None:
            self._argue(self._arguments)

    def _close(self) -> None:
        if self._wrapped:
            self._wrapped -= 1
            return
        if not self._name:
            self.failed = True
            return
        if self._arguments is None:
            self._argue("{}")
        self._at = _At.BETWEEN


def _string(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def _object(text: str) -> str:
    """Arguments that were not written as an object in place: as a string with one inside, …"""
    inner = _string(text) if text.startswith('"') else text
    try:
        value = json.loads(inner)
    except (ValueError, RecursionError):
        return inner or "{}"
    return inner if isinstance(value, dict) else "{}"
