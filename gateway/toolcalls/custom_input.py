"""Calls of custom tools: their arguments become the text that the tool takes. Pure.

The model writes ``{"input": "a text"}``, and the text passes on while it comes. What the model
wrote in another way is read when the call has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from msgspec.structs import replace

from cupola.gateway.core.custom_tools import INPUT
from cupola.gateway.core.events import Event, ToolCallArguments, ToolCallStart

_START = re.compile(r"\s*\{\s*" + json.dumps(INPUT) + r"\s*:\s*\"")
_LONGEST_START = 200  # characters, with white space
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"'}
# A piece of a JSON string, or the beginning of one that is not complete.
_PIECE = re.compile(
    r"(?P<plain>[^\"\\]+)"
    r"|(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<part>\\u[dD][89abAB][0-9a-fA-F]{2}(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?\Z)"
    r"|(?P<code>\\u[0-9a-fA-F]{4})"
    r"|(?P<begun>\\(u[0-9a-fA-F]{0,3})?\Z)"
    r"|\\(?P<escape>.)"
    r"|(?P<end>\")",
    re.DOTALL,
)


class InputReader:
    """The text in one call's arguments."""

    def __init__(self) -> None:
        self._held = ""  # what has not been understood yet
        self._in_text = False
        self._over = False

    def feed(self, fragment: str) -> str:
        """More of the text."""
        if self._over:
            return ""
        self._held += fragment
        if not self._in_text:
            self._begin(len(self._held) - len(fragment))
        return self._decoded() if self._in_text else ""

    def _begin(self, looked_at: int) -> None:
        if looked_at <= _LONGEST_START and (begun := _START.match(self._held)):
            self._in_text = True
            self._held = self._held[begun.end() :]

    def finish(self) -> str:
        """The rest of the text. The call has ended, or was cut."""
        held, self._held = self._held, ""
        if self._over or self._in_text:
            return ""
        try:
            value = json.loads(held)
        except (ValueError, RecursionError):
            return held  # some models write the text as it is
        if isinstance(value, dict):
            texts = [value[INPUT]] if INPUT in value else list(value.values())
            if len(texts) == 1 and isinstance(texts[0], str):
                return _whole(texts[0])
        return "" if value == {} else held

    def _decoded(self) -> str:
        out: list[str] = []
        at = 0
        while at < len(self._held) and (piece := _PIECE.match(self._held, at)):
            if piece["part"] or piece["begun"]:
                break  # the rest of it has yet to come
            at = piece.end()
            if piece["end"]:
                self._over = True
                break
            if plain := piece["plain"]:
                out.append(plain)
            elif escaped := piece["pair"] or piece["code"]:
                out.append(_whole(json.loads(f'"{escaped}"')))
            else:
                out.append(_ESCAPES.get(piece["escape"], piece[0]))
        self._held = self._held[at:]
        return "".join(out)


def _whole(text: str) -> str:
    """The text without halves of surrogate pairs, which cannot be encoded."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


class CustomInputs:
    """Events of one answer, with texts for the arguments of the tools of some ``names``."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._call: ToolCallStart | None = None  # of a custom tool, that is being read
        self._reader = InputReader()

    def translated(self, events: list[Event], *, ended: bool) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, ToolCallArguments) and self._call is not None:
                out += self._piece(self._reader.feed(event.fragment))
                continue
            out += self._end()
            if isinstance(event, ToolCallStart) and event.name in self._names:
                event = replace(event, custom=True)
                self._call, self._reader = event, InputReader()
            out.append(event)
        return out + self._end() if ended else out

    def _end(self) -> list[Event]:
        rest = self._piece(self._reader.finish()) if self._call is not None else []
        self._call = None
        return rest

    def _piece(self, text: str) -> list[Event]:
        if not text or self._call is None:
            return []
        return [ToolCallArguments(self._call.index, self._call.call, text)]
