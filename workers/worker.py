"""A worker's decisions: what to do with each message, which engine to step, what to tell.

It knows no socket and no clock. Loading takes seconds, so it is handed to ``load``, which calls
``loaded`` back on the worker's own thread. ``main.py`` is the loop around it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    Abort,
    Decode,
    Done,
    Encode,
    ErrorCode,
    Generate,
    Goodbye,
    Heartbeat,
    Load,
    LocalModel,
    Output,
    Outputs,
    Ready,
    Rejected,
    Rejoin,
    ToScheduler,
    ToWorker,
    Unload,
    decode_work,
)
from cupola.workers.model.backend import Backend, RequestError
from cupola.workers.residency import Residency, Resident

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    name: str
    provider: ExecutionProvider
    pid: int
    slots: int


class Worker:
    def __init__(
        self, identity: Identity, residency: Residency, load: Callable[[LocalModel], None]
    ) -> None:
        self._identity = identity
        self._residency = residency
        self._load = load

    # -- inputs ------------------------------------------------------------------------------------

    def receive(self, message: ToWorker, now: float) -> list[ToScheduler]:
        match message:
            case Generate() | Load():
                return self._use(message, now)
            case Abort():
                self._abort(message.request_id, now)
                return []
            case Unload():
                return self._unload(message)
            case Rejoin():
                return self._rejoin(now)

    def loaded(self, model_id: str, result: Backend | Exception, now: float) -> list[ToScheduler]:
        """The end of a load, good or bad."""
        resident = self._residency.models[model_id]
        waiting, resident.waiting = resident.waiting, []
        if isinstance(result, Exception):
            del self._residency.models[model_id]
            logger.error("could not load %s: %s", model_id, result)
            text = f"the model '{model_id}' could not be loaded: {result}"
            ids = [order.request_id for order in (*waiting, *resident.afterwards)]
            ids += resident.leaving
            rejected = [Rejected(i, ErrorCode.MODEL_LOAD_FAILED, text) for i in ids]
            return [self.heartbeat(now), *rejected]
        resident.backend = result
        resident.last_used = now
        resident.waited = {request_id: now - came for request_id, came in resident.came.items()}
        resident.came.clear()
        answers = [answer for order in waiting for answer in self._begin(resident, order)]
        # First of all what is loaded: a load that is done must show in the lists.
        return [self.heartbeat(now), *answers]

    def step(self, now: float) -> list[ToScheduler]:
        """One run of every model that has work; all it made is one message."""
        outputs: list[Output] = []
        failures: list[ToScheduler] = []
        for resident in list(self._residency.models.values()):
            if resident.backend is None or not resident.backend.busy:
                continue
            try:
                made = resident.backend.step()
            except Exception:  # any failure of a run loses that engine and nothing else
                logger.exception("%s failed in a run", resident.model.id)
                failures += self._discard(resident, now)
                continue
            for output in made:
                if isinstance(output, Rejected):
                    failures.append(output)
                else:
                    outputs.append(_with_wait(output, resident))
                if isinstance(output, Rejected) or output.last:
                    self._residency.finish(output.request_id, now)
        return [*([Outputs(tuple(outputs))] if outputs else []), *failures]

    def expire(self, now: float) -> list[ToScheduler]:
        """Drop the models whose time is over. Empty when there is none."""
        over = self._residency.expired(now)
        answers: list[ToScheduler] = []
        for resident in over:
            logger.info("unloaded %s", resident.model.id)
            answers += [Done(request_id) for request_id in resident.leaving]
            self._replace(resident, now)
        return [self.heartbeat(now), *answers] if over else []

    # -- what the loop wants to know ---------------------------------------------------------------

    @property
    def busy(self) -> bool:
        return any(
            r.backend is not None and r.backend.busy for r in self._residency.models.values()
        )

    def next_deadline(self) -> float | None:
        return self._residency.next_deadline()

    def ready(self, now: float) -> Ready:
        me, held = self._identity, self._residency
        held_now = (held.loaded, held.loading, held.serving(now))
        return Ready(me.name, me.provider, me.pid, me.slots, *held_now)

    def heartbeat(self, now: float, resident_bytes: int = 0) -> Heartbeat:
        held = self._residency
        backends = [resident.backend for resident in held.models.values()]
        twice = sum(backend.shared_bytes for backend in backends if backend is not None)
        memory_bytes = max(0, resident_bytes - twice)
        return Heartbeat(memory_bytes, held.loaded, held.loading, held.serving(now))

    def goodbye(self) -> list[ToScheduler]:
        """End what runs: the process is about to stop."""
        text = "the service is stopping"
        ids = [i for r in self._residency.models.values() for i in r.orders]
        return [*(Rejected(i, ErrorCode.SHUTTING_DOWN, text) for i in ids), Goodbye()]

    # -- transitions -------------------------------------------------------------------------------

    def preload(self, model: LocalModel, now: float) -> None:
        """Load a model that nobody has asked for."""
        if model.id not in self._residency.models:
            self._residency.start(model, now)
            self._load(model)

    def _use(self, order: Generate | Load, now: float) -> list[ToScheduler]:
        self.preload(order.model, now)
        resident = self._residency.models[order.model.id]
        if resident.leaving:  # or a model in steady use would never leave
            resident.afterwards.append(order)
            return []
        self._residency.touch(resident, order.ttl, now)
        if resident.backend is None:
            resident.waiting.append(order)
            resident.came[order.request_id] = now
            return []
        return self._begin(resident, order)

    def _begin(self, resident: Resident, order: Generate | Load) -> list[ToScheduler]:
        if isinstance(order, Load):
            return [Done(order.request_id)]
        assert resident.backend is not None
        try:
            task = decode_work(order.work)
            if isinstance(task, (Encode, Decode)):
                return [Outputs((resident.backend.convert(order.request_id, task),))]
            resident.backend.add(order.request_id, task)
        except RequestError as error:
            return [error.rejected(order.request_id)]
        except Exception:  # an unforeseen input must cost its own request only
            logger.exception("could not add a request")
            text = "the worker could not read this request"
            return [Rejected(order.request_id, ErrorCode.INTERNAL, text)]
        resident.running.add(order.request_id)
        return []

    def _abort(self, request_id: str, now: float) -> None:
        logger.debug("aborting %s", request_id)
        for resident in self._residency.models.values():
            resident.waiting = _without(request_id, resident.waiting)
            resident.afterwards = _without(request_id, resident.afterwards)
            if request_id in resident.running and resident.backend is not None:
                resident.backend.abort(request_id)
        self._residency.finish(request_id, now)

    def _unload(self, message: Unload) -> list[ToScheduler]:
        resident = self._residency.models.get(message.model_id)
        if resident is None or not self._residency.may_leave(message.model_id, message.force):
            return [Done(message.request_id)]
        resident.leaving.append(message.request_id)
        return []

    def _rejoin(self, now: float) -> list[ToScheduler]:
        """A new scheduler knows none of our requests: nobody waits for them."""
        for resident in self._residency.models.values():
            for request_id in resident.orders:
                self._abort(request_id, now)
            resident.leaving.clear()
        return [self.ready(now)]

    def _discard(self, resident: Resident, now: float) -> list[ToScheduler]:
        """An engine is lost, and with it what it ran."""
        text = f"the model '{resident.model.id}' failed while it ran; it is loaded anew when asked"
        failed = [Rejected(i, ErrorCode.INTERNAL, text) for i in sorted(resident.running)]
        left = [Done(request_id) for request_id in resident.leaving]
        self._replace(resident, now)
        return [self.heartbeat(now), *failed, *left]

    def _replace(self, resident: Resident, now: float) -> None:
        """Forget a model; it is loaded again for those who asked for it while it was leaving."""
        del self._residency.models[resident.model.id]
        for order in resident.afterwards:
            self._use(order, now)  # waits for the load, so there is no answer yet


def _without(request_id: str, orders: list[Generate | Load]) -> list[Generate | Load]:
    return [order for order in orders if order.request_id != request_id]


def _with_wait(output: Output, resident: Resident) -> Output:
    """The output; the last one of a request that waited for a load says for how long."""
    waited = resident.waited.get(output.request_id)
    if output.usage is None or waited is None:
        return output
    return replace(output, usage=replace(output.usage, load_seconds=waited))
