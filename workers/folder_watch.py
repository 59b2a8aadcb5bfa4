"""Finds models in memory whose folders on the disk have been deleted, or replaced by others."""

from __future__ import annotations

import os

from cupola.scheduler.protocol.tasks import LocalModel

_Identity = tuple[int, int]  # the device and the number that the file system gives a folder


class FolderWatch:
    """Knows which folder each model was loaded from."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, _Identity]] = {}  # path and identity by the model's id

    def loads(self, model: LocalModel) -> None:
        """``model`` is about to be loaded. One that has no folder, as with the echo backend, is
        never reported."""
        identity = _identity(model.path)
        if identity is None:
            self._known.pop(model.id, None)
        else:
            self._known[model.id] = (model.path, identity)

    def changed(self) -> list[str]:
        """The ids of the models whose folders are not there any more, each of them once."""
        changed = [i for i, (path, before) in self._known.items() if _identity(path) != before]
        for model_id in changed:
            del self._known[model_id]
        return changed


def _identity(path: str) -> _Identity | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
