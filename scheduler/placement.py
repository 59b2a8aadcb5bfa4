"""Which worker runs a request. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cupola.scheduler.protocol.messages import LocalModel
from cupola.scheduler.records import Worker


def place(model: LocalModel, workers: Iterable[Worker]) -> Worker | None:
    """The worker to use: the least loaded that holds the model, else the least loaded; None: wait.

    Loading a model costs seconds and its memory, so a worker that holds it is preferred as long as
    it has a free slot.
    """
    able = [w for w in workers if w.provider is model.provider and w.free > 0]
    return max(able, key=lambda w: (model.id in w.holds, w.free), default=None)
