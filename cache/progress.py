"""How long work tells its caller how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called often, from the thread that does the work; must return quickly and not raise."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of ``stage`` ("download", "check", "convert", "wait").

        ``total`` is None while it is not known. A stage ends with ``done == total``, or when the
        next one begins.
        """


def silent(stage: str, done: int, total: int | None) -> None:
    """The Progress of callers that do not want to know."""
