"""A worker's decisions: what to do with each message, which engine to step, what to answer.

It knows no socket and no clock. Loading takes seconds, so ``load`` only starts it; the loop around
the worker, ``main.py``, calls ``loaded`` at the end of the load. Which models are loaded and
unloaded when is decided in ``model_lifecycle.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FromWorker,
    Goodbye,
    LoadModel,
    Outputs,
    Rejected,
    Rejoin,
    Submit,
    ToWorker,
    UnloadModel,
    decode_work,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, LocalModel, Work
from cupola.workers.eviction import NoRoomError
from cupola.workers.model.backend import Backend, RequestError
from cupola.workers.model_lifecycle import Ended, ModelLifecycle
from cupola.workers.model_memory import ModelMemory
from cupola.workers.residency import Residency, Resident
from cupola.workers.self_report import Identity, SelfReport

logger = logging.getLogger(__name__)


class Worker:
    """``load`` starts to load a model and returns at once. ``memory``: None: there is enough.

    ``report`` makes what it tells of itself. ``lifecycle``: how its models come and go.
    """

    def __init__(
        self,
        identity: Identity,
        residency: Residency,
        load: Callable[[LocalModel], None],
        memory: ModelMemory | None = None,
    ) -> None:
        self.report = SelfReport(identity, residency)
        self.lifecycle = ModelLifecycle(residency, self.report, load, memory)
        self._residency = residency

    # -- events ------------------------------------------------------------------------------------

    def receive(self, message: ToWorker, now: float) -> list[FromWorker]:
        match message:
            case Submit() | LoadModel():
                return self._on_submit(message, now)
            case UnloadModel():
                return self._on_unload(message)
            case Abort():
                return self._on_abort(message, now)
            case Rejoin():
                return self._on_rejoin(now)

    def loaded(self, model_id: str, result: Backend | Exception, now: float) -> list[FromWorker]:
        """A load has ended: with the model, or with what went wrong."""
        resident = self._residency.models[model_id]
        if isinstance(result, Exception):
            return self.lifecycle.load_failed(resident, result, now)
        waiting = resident.loaded(result, now)
        answers = [answer for message in waiting for answer in self._start(resident, message)]
        # The heartbeat comes first, so that a model is listed once its load has been answered.
        return [self.report.heartbeat(now), *answers]

    def step(self, now: float) -> list[FromWorker]:
        """Run every model that has work once. All outputs are one message."""
        outputs: list[Output] = []
        failures: list[FromWorker] = []
        for resident in list(self._residency.models.values()):
            if resident.backend is None or not resident.backend.busy:
                continue
            try:
                results = resident.backend.step()
            except Exception:  # any failure of a run loses that engine and nothing else
                logger.exception("%s failed in a run", resident.model.id)
                failures += self._after(self.lifecycle.engine_failed(resident), now)
                continue
            for result in results:
                if isinstance(result, Rejected):
                    failures.append(result)
                else:
                    outputs.append(resident.with_load_seconds(result))
                if isinstance(result, Rejected) or result.last:
                    self._residency.finish(result.request_id, now)
        return [*([Outputs(tuple(outputs))] if outputs else []), *failures]

    def expire(self, now: float) -> list[FromWorker]:
        """Unload the idle models whose time has come. Empty when there is none."""
        ended = self.lifecycle.expire(now)
        return [] if ended is None else self._after(ended, now)

    def warm_up(self) -> bool:
        """Do a short piece of work that makes later requests faster, if there are none now.

        True: there may be more to do.
        """
        # A request can run and leave nothing to step, while a thread works for it.
        runs = any(resident.running for resident in self._residency.models.values())
        idle = not self.busy and not runs
        return idle and any(backend.warm_up() for backend in self._residency.backends)

    # -- what the loop needs to know --------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether ``step`` has something to do."""
        return self._residency.busy

    def next_deadline(self) -> float | None:
        return self._residency.next_deadline()

    def close(self) -> None:
        """Let the models write what is to outlive the process, which is about to stop."""
        for backend in self._residency.backends:
            backend.close()

    def goodbye(self) -> list[FromWorker]:
        """End every request: the process is about to stop."""
        text = "the service is stopping"
        ids = [i for resident in self._residency.models.values() for i in resident.request_ids]
        return [*(Rejected(i, ErrorCode.SHUTTING_DOWN, text) for i in ids), Goodbye()]

    # -- messages ----------------------------------------------------------------------------------

    def _on_submit(self, message: Submit | LoadModel, now: float) -> list[FromWorker]:
        try:
            unloaded = self.lifecycle.ensure(message.model, now)
        except NoRoomError as error:
            return [Rejected(message.request_id, ErrorCode.NO_MEMORY, str(error))]
        resident = self._residency.models[message.model.id]
        if resident.ends:  # a model in steady use would never be unloaded otherwise
            resident.after_unload.append(message)
            return unloaded
        self._residency.touch(resident, message.ttl, now)
        if resident.backend is None:
            resident.waiting.append(message)
            resident.waiting_since[message.request_id] = now
            return unloaded
        return [*unloaded, *self._start(resident, message)]

    def _on_unload(self, message: UnloadModel) -> list[FromWorker]:
        resident = self._residency.models.get(message.model_id)
        if resident is None or not self._residency.may_unload(message.model_id, message.force):
            return [Done(message.request_id)]
        resident.unloads.append(message.request_id)
        return []

    def _on_abort(self, message: Abort, now: float) -> list[FromWorker]:
        logger.debug("aborting %s", message.request_id)
        return self._abort(message.request_id, now)

    def _on_rejoin(self, now: float) -> list[FromWorker]:
        """A new scheduler knows none of the requests here, so nobody waits for them."""
        spent: list[FromWorker] = []
        for resident in self._residency.models.values():
            for request_id in resident.request_ids:
                spent += self._abort(request_id, now)
            resident.unloads.clear()
        return [self.report.ready(now), *spent]

    # -- requests ----------------------------------------------------------------------------------

    def _start(self, resident: Resident, message: Submit | LoadModel) -> list[FromWorker]:
        """Give a request to the engine of a loaded model."""
        if isinstance(message, LoadModel):
            return [Done(message.request_id)]
        assert resident.backend is not None
        try:
            task = decode_work(message.work)
            if isinstance(task, (Encode, Decode)):
                if (output := resident.backend.convert(message.request_id, task)) is not None:
                    return [Outputs((output,))]
            else:
                if not isinstance(task, Embed):
                    task = _of_tenant(task, message.tenant)
                resident.backend.add(message.request_id, task, message.turn)
        except RequestError as error:
            return [error.rejected(message.request_id)]
        except Exception:  # an unforeseen input must cost its own request only
            logger.exception("could not add a request")
            text = "the worker could not read this request"
            return [Rejected(message.request_id, ErrorCode.INTERNAL, text)]
        resident.running.add(message.request_id)
        self.report.beginnings.read(resident.model.id, message.beginnings)
        return []

    def _abort(self, request_id: str, now: float) -> list[FromWorker]:
        """Forget a request. Returns what is left to be told of its cost."""
        spent: list[Output | None] = []
        for resident in self._residency.models.values():
            resident.withdraw(request_id)
            if request_id in resident.running and resident.backend is not None:
                spent.append(resident.backend.abort(request_id))
        self._residency.finish(request_id, now)
        return [Outputs((output,)) for output in spent if output is not None]

    def _after(self, ended: Ended, now: float) -> list[FromWorker]:
        """Tell of the end of some models, and load those again for which requests came since."""
        again = [answer for message in ended.later for answer in self._on_submit(message, now)]
        return [self.report.heartbeat(now), *ended.answers, *again]


def _of_tenant(work: Work | Decide, tenant: str) -> Work | Decide:
    """The work, salted so that it shares cached prefixes with no other tenant's.

    The salt that the client has set divides the requests of a tenant further.
    """
    return replace(work, cache_salt=f"{tenant}:{work.cache_salt}") if tenant else work
