"""How much a JSON body holds, found while it comes in.

What reading a body costs depends on its parts more than on its bytes: sixteen megabytes are one
text, or eight million numbers. So the parts are counted in each piece before any of it is read as
JSON. The count is exact for JSON, and whatever else a body is, it is refused later. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_PARTS = 50_000  # texts, lists and objects; the names of fields are texts
MAX_VALUES = 300_000  # with numbers: a prompt may be a list of tokens
MAX_DEPTH = 128
_MARKS = b'",[]{}'
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEPS: Mapping[int, int] = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class JsonSize:
    def __init__(self) -> None:
        self._in_text = False
        self._escaped = False  # the next byte belongs to a backslash
        self._quotes = 0
        self._opened = 0
        self._commas = 0
        self._depth = 0
        self._deepest = 0

    def feed(self, piece: bytes) -> None:
        """The next piece. It should be a small one: this takes time, though little."""
        if not piece:
            return
        marks = self._unescaped(piece).translate(None, _OTHERS)
        between = marks.split(b'"')
        outside = b"".join(between[self._in_text :: 2])
        quotes = len(between) - 1
        self._in_text ^= bool(quotes % 2)
        self._quotes += quotes
        self._commas += outside.count(b",")
        brackets = outside.translate(None, b",")
        opened = brackets.count(b"[") + brackets.count(b"{")
        self._opened += opened
        if self._depth + opened > MAX_DEPTH:
            for bracket in brackets:
                self._depth += _STEPS[bracket]
                self._deepest = max(self._deepest, self._depth)
        else:
            self._depth += 2 * opened - len(brackets)

    def _unescaped(self, piece: bytes) -> bytes:
        """Without what backslashes escape. Outside of texts JSON has no backslash."""
        if self._escaped:
            piece = piece[1:]
        elif b"\\" not in piece:
            return piece
        self._escaped = bool((len(piece) - len(piece.rstrip(b"\\"))) % 2)
        return piece.replace(b"\\\\", b"").replace(b'\\"', b"")

    @property
    def parts(self) -> int:
        """Texts, lists and objects."""
        return self._quotes // 2 + self._opened

    @property
    def excess(self) -> str:
        """What there is too much of, for the client; empty: nothing."""
        if self.parts > MAX_PARTS:
            return f"more than {MAX_PARTS} texts, lists and objects"
        if self._commas + self._opened > MAX_VALUES:
            return f"more than {MAX_VALUES} values"
        if self._deepest > MAX_DEPTH:
            return f"more than {MAX_DEPTH} levels"
        return ""
