"""Reads gpt-oss's answers, in which every part has a header that names its channel. Pure.

<|channel|>analysis<|message|>…<|end|>                                      reasoning
<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>
<|start|>assistant<|channel|>final<|message|>…<|return|>                     text
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from cupola.gateway.core.events import Event
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.scanner import find_first, held_back

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS)
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_MAX_HEADER = 500  # characters, after which what looked like a header is text


class HarmonyParser:
    """See ``parser.Parser``."""

    def __init__(self, names: Collection[str], emitter: Emitter) -> None:
        self._names = frozenset(names)
        self._emit = emitter
        self._held = ""
        self._header = ""
        self._say: Callable[[str], None] | None = None  # None: in a header

    def feed(self, text: str) -> list[Event]:
        self._held += text
        self._run(final=False)
        return self._emit.take()

    def finish(self, *, cut: bool = False) -> list[Event]:
        self._run(final=True)
        if self._say is None and CHANNEL not in self._header and START not in self._header:
            self._emit.text(self._header)
        return self._emit.take()

    def _run(self, *, final: bool) -> None:
        while found := find_first(self._held, MARKERS):
            at, marker = found
            self._read(self._held[:at])
            self._held = self._held[at + len(marker) :]
            self._mark(marker)
        keep = 0 if final else held_back(self._held, MARKERS)
        self._read(self._held[: len(self._held) - keep])
        self._held = self._held[len(self._held) - keep :]

    def _read(self, text: str) -> None:
        if self._say is not None:
            self._say(text)
            return
        self._header += text
        if len(self._header) > _MAX_HEADER:  # an answer without headers
            self._say = self._emit.text
            self._say(self._header)

    def _mark(self, marker: str) -> None:
        if marker == MESSAGE:
            self._say = self._speaker(self._header)
        elif marker in ENDS or marker == START:
            self._say, self._header = None, marker if marker == START else ""
        elif self._say is None:
            self._header += marker

    def _speaker(self, header: str) -> Callable[[str], None]:
        """What a part with this header is."""
        recipient = _RECIPIENT.search(header)
        if recipient is not None and recipient[1] in self._names:
            self._emit.begin(recipient[1])
            return self._emit.argue
        channel = _CHANNEL.search(header)
        if channel is not None and channel[1] == "analysis":
            return self._emit.reasoning
        return self._emit.text
