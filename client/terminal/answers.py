"""Prints the answers of a conversation: piece by piece as text, or each as a line of JSON."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any, Protocol

from cupola.client.running_service import Ending
from cupola.client.terminal.output import Form, print_json

Pieces = Generator[str, None, Ending]


class AnswerPrinter(Protocol):
    def answer(self, pieces: Pieces) -> None: ...

    def note(self, text: str) -> None:
        """Tell what is no answer."""


def printer(form: Form, model: str) -> AnswerPrinter:
    return _JsonLines(model) if form is Form.JSON else _Text()


class _Text:
    def answer(self, pieces: Pieces) -> None:
        for piece in pieces:
            print(piece, end="", flush=True)
        print(flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)


class _JsonLines:
    def __init__(self, model: str) -> None:
        self._model = model

    def answer(self, pieces: Pieces) -> None:
        text, ending = _whole(pieces)
        record: dict[str, Any] = {"model": self._model, "text": text}
        record |= {"finishReason": ending.finish_reason, "usage": ending.usage}
        print_json(record)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _whole(pieces: Pieces) -> tuple[str, Ending]:
    found = []
    while True:
        try:
            found.append(next(pieces))
        except StopIteration as end:
            return "".join(found), end.value
