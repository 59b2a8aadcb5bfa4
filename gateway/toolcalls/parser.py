"""What a parser does: it tells the text, the reasoning and the tool calls of an answer apart."""

from __future__ import annotations

from typing import Protocol

from cupola.gateway.core.events import Event


class Parser(Protocol):
    """Pure and incremental: how the text is cut changes nothing but the sizes of the deltas."""

    def feed(self, text: str) -> list[Event]:
        """The events that more text makes certain."""

    def finish(self, *, cut: bool = False) -> list[Event]:
        """The events that the end of the text makes certain. It is called once.

        ``cut``: the model would have written more.
        """
