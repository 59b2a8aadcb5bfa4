"""Reads an answer that is only the text of one custom tool: a grammar enforces it. Pure."""

from __future__ import annotations

import json

from cupola.gateway.core.custom_tools import INPUT
from cupola.gateway.core.events import Event
from cupola.gateway.toolcalls.emitter import Emitter


class RawCallParser:
    """See ``parser.Parser``. The call's arguments are written around the text."""

    def __init__(self, name: str, emitter: Emitter) -> None:
        self._name = name
        self._emit = emitter

    def feed(self, text: str) -> list[Event]:
        self._begin()
        self._emit.argue(json.dumps(text, ensure_ascii=False)[1:-1])
        return self._emit.take()

    def finish(self, *, cut: bool = False) -> list[Event]:
        self._begin()
        if not cut:
            self._emit.argue('"}')
        return self._emit.take()

    def _begin(self) -> None:
        if not self._emit.calls:
            self._emit.begin(self._name)
            self._emit.argue(f'{{"{INPUT}": "')
