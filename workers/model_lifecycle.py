"""How a worker's models come and go: they are loaded, make room for others, end or fail.

It knows no socket and no clock. What a request does meanwhile is decided in ``worker.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from cupola.cache.error_text import without_paths
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    FromWorker,
    LoadModel,
    Rejected,
    Submit,
)
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.eviction import NoRoomError, to_evict
from cupola.workers.model_memory import ModelMemory
from cupola.workers.residency import RESTS, Residency, Resident
from cupola.workers.self_report import SelfReport

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """What follows from the end of some models."""

    answers: list[FromWorker]
    later: list[Submit | LoadModel]  # came since a model was to be unloaded: it is loaded again


class ModelLifecycle:
    """``load`` starts to load a model and returns at once. ``memory``: None: there is enough."""

    def __init__(
        self,
        residency: Residency,
        report: SelfReport,
        load: Callable[[LocalModel], None],
        memory: ModelMemory | None = None,
    ) -> None:
        self._residency = residency
        self._report = report
        self._load = load
        self._memory = memory

    # -- models that come --------------------------------------------------------------------------

    def ensure(self, model: LocalModel, now: float) -> list[FromWorker]:
        """Load a model if it is not there, and unload idle ones if it needs their memory.

        Raises NoRoomError.
        """
        if model.id in self._residency.models:
            return []
        unloaded: list[FromWorker] = []
        needed = copied = size = 0
        if self._memory is not None:
            needed, copied = self._memory.needed(model), self._memory.copied(model)
            size = self._memory.size(model)
            available = self._memory.available() - self._residency.loading_bytes
            unloaded = self._make_room(model, needed, copied, available, now)
        resident = self._residency.start(model, now)
        resident.needed, resident.size = needed + copied, size
        self._load(model)
        return unloaded

    def preload(self, model: LocalModel, now: float) -> None:
        """Load a model at the start, without a request. One that does not fit is left out."""
        try:
            self.ensure(model, now)
        except NoRoomError as error:
            logger.error("not loaded at the start: %s", error)

    def load_failed(self, resident: Resident, error: Exception, now: float) -> list[FromWorker]:
        """All that wait for the model are told."""
        model_id = resident.model.id
        del self._residency.models[model_id]
        logger.error("could not load %s: %s", model_id, error)
        reason = without_paths(error, Path(resident.model.path))
        text = f"the model '{model_id}' could not be loaded: {reason}"
        ids = [*resident.request_ids, *resident.unloads]
        rejected = (Rejected(i, ErrorCode.MODEL_LOAD_FAILED, text) for i in ids)
        return [self._report.heartbeat(now), *rejected]

    # -- models that end ---------------------------------------------------------------------------

    def outdate(self, model_ids: Iterable[str]) -> None:
        """The files of these models were deleted or replaced: unload them when they are idle."""
        for model_id in model_ids:
            if (resident := self._residency.models.get(model_id)) is not None:
                resident.outdated = True

    def expire(self, now: float) -> Ended | None:
        """Unload the idle models whose time has come. None: there is none."""
        expired = self._residency.expired(now)
        if not expired:
            return None
        answers = [answer for resident in expired for answer in self._unload(resident)]
        return Ended(answers, [message for each in expired for message in each.after_unload])

    def engine_failed(self, resident: Resident) -> Ended:
        """The engine is lost, and with it the requests that ran."""
        text = f"the model '{resident.model.id}' failed while it ran; its next use loads it again"
        failed = [Rejected(i, ErrorCode.INTERNAL, text) for i in sorted(resident.running)]
        return Ended([*failed, *self._remove(resident)], resident.after_unload)

    def rest(self, now: float) -> bool:
        """Let the models give memory back that nobody has used for a while. True: some did."""
        resting = self._residency.resting(now)
        for resident in resting:
            assert resident.backend is not None
            long = resident.rests == len(RESTS)
            resident.backend.rest(long=long)
            if long:
                self._report.beginnings.forget(resident.model.id)
        return bool(resting)

    def _make_room(
        self, model: LocalModel, needed: int, copied: int, available: int, now: float
    ) -> list[FromWorker]:
        """Unload idle models if a new one needs their memory. Raises NoRoomError."""
        residents = self._residency.models.values()
        evicted = to_evict(model.id, needed, copied, available, residents)
        why = f" to make room for {model.id}"
        answers = [answer for resident in evicted for answer in self._unload(resident, why)]
        self._report.evicted += len(evicted)
        return [self._report.heartbeat(now), *answers] if evicted else []

    def _unload(self, resident: Resident, why: str = "") -> list[FromWorker]:
        """End a model that nothing runs on in an orderly way, and forget it."""
        logger.info("unloaded %s%s", resident.model.id, why)
        if resident.backend is not None:
            resident.backend.close()
        return self._remove(resident)

    def _remove(self, resident: Resident) -> list[FromWorker]:
        """Forget a model. Returns the answers to those who wanted it unloaded."""
        del self._residency.models[resident.model.id]
        self._report.beginnings.forget(resident.model.id)
        return [Done(request_id) for request_id in resident.unloads]
