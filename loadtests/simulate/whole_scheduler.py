"""The whole scheduler, message by message, in front of simulated workers that may fail. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.loadtests.simulate.queue_scheduler import Refuse, Start
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.worker import SimulatedWorker
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import Outputs, Ready, Rejected, Submit
from cupola.scheduler.protocol.outputs import Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

_GATEWAY = b"gateway"
_MODEL = LocalModel("model", "model", ExecutionProvider.CPU)
_WORK = msgspec.Raw(b"")
_USAGE = Usage(0, 0)  # the scheduler only counts with it
_FOREVER = 1e12


class WholeScheduler:
    """``names``: of the workers that are to be there."""

    def __init__(
        self,
        start: Start,
        refuse: Refuse,
        names: Iterable[str],
        slots: int,
        queue_limit: int,
        queue_timeout: float,
    ) -> None:
        self._start, self._refuse, self._slots = start, refuse, slots
        policy = SchedulerPolicy(
            workers=dict.fromkeys(names, ExecutionProvider.CPU),
            queue_limit=queue_limit,
            queue_timeout=queue_timeout,
            lease=_FOREVER,  # nobody sends heartbeats here
        )
        self._scheduler = Scheduler(policy, "simulation")
        self._workers: dict[bytes, SimulatedWorker] = {}
        self._open: dict[str, SimulatedRequest] = {}

    @property
    def waiting(self) -> int:
        return len(self._scheduler.queue)

    def next_deadline(self) -> float | None:
        return self._scheduler.queue.next_deadline()

    def joins(self, worker: SimulatedWorker, now: float) -> None:
        self._workers[_peer(worker)] = worker
        ready = Ready(worker.name, ExecutionProvider.CPU, 0, self._slots, (_MODEL.id,))
        self._deliver(self._scheduler.receive(_peer(worker), ready, now), now)

    def dies(self, worker: SimulatedWorker, now: float) -> None:
        del self._workers[_peer(worker)]
        self._deliver(self._scheduler.process_ended(worker.name, now), now)

    def arrives(self, request: SimulatedRequest, now: float) -> bool:
        request_id = str(request.arrival)
        self._open[request_id] = request
        submit = Submit(request_id, _MODEL, _WORK, size=request.prompt)
        self._deliver(self._scheduler.receive(_GATEWAY, submit, now), now)
        return len(self._scheduler.queue) > 0

    def ended(
        self, worker: SimulatedWorker, finished: Sequence[SimulatedRequest], now: float
    ) -> None:
        outputs = [Output(str(request.arrival), usage=_USAGE) for request in finished]
        outputs += [Output(str(r.arrival), made=1) for r in worker.started if r not in finished]
        if outputs:
            sends = self._scheduler.receive(_peer(worker), Outputs(tuple(outputs)), now)
            for request in finished:
                del self._open[str(request.arrival)]
            self._deliver(sends, now)

    def expire(self, now: float) -> None:
        self._deliver(self._scheduler.tick(now), now)

    def _deliver(self, sends: Iterable[Send], now: float) -> None:
        for peer, message in sends:
            match message:
                case Submit():
                    request = self._open[message.request_id]
                    self._start(request, self._workers[peer], now)
                case Rejected():
                    self._refuse(self._open.pop(message.request_id), now)


def _peer(worker: SimulatedWorker) -> bytes:
    return f"{worker.name} {worker.number}".encode()
