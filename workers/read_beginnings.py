"""Digests of the beginnings of prompts that a worker has read, and may have cached. Pure.

The scheduler goes by them when it chooses a worker, also after it was started again. They are those
of the requests; nothing is computed here. What is forgotten here may still be cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

MOST = 512  # that are told: 8 bytes each


class ReadBeginnings:
    """By model. ``news`` gives them all, and only if they have changed since it was called."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._model_of: OrderedDict[bytes, str] = OrderedDict()  # the one read last is last
        self._changed = False

    def read(self, model_id: str, beginnings: Iterable[bytes]) -> None:
        """A prompt that begins so is read."""
        for digest in beginnings:
            self._changed |= digest not in self._model_of
            self._model_of[digest] = model_id
            self._model_of.move_to_end(digest)
        while len(self._model_of) > self._most:
            self._model_of.popitem(last=False)

    def forget(self, model_id: str) -> None:
        """The model has nothing cached any more."""
        kept = OrderedDict((d, m) for d, m in self._model_of.items() if m != model_id)
        self._changed |= len(kept) < len(self._model_of)
        self._model_of = kept

    def tell_again(self) -> None:
        """Whoever was told has forgotten it."""
        self._changed = bool(self._model_of)

    def news(self) -> tuple[bytes, ...] | None:
        """All of them; None: they are those that were told last."""
        if not self._changed:
            return None
        self._changed = False
        return tuple(self._model_of)
