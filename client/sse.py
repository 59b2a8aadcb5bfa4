"""Decodes a stream of server-sent events. Pure: bytes in, data of whole events out."""

from __future__ import annotations

DONE = "[DONE]"  # the data of the last event of OpenAI's streams


class EventDecoder:
    """Takes bytes cut anywhere, also inside a character or between CR and LF.

    Only the ``data`` field is kept: OpenAI's streams use no other. The format is that of
    https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that ``chunk`` completes."""
        text = self._rest + chunk
        # A CR at the end may be the first half of CR LF: it waits for the next chunk.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        return [event for line in lines if (event := self._take(line.decode())) is not None]

    def _take(self, line: str) -> str | None:
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data.clear()
            return event
        field, _, value = line.partition(":")
        if field == "data":
            self._data.append(value.removeprefix(" "))
        return None
