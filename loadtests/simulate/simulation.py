"""Many workers and requests, second by simulated second, under the real scheduler. Pure."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from itertools import count, islice
from random import Random

from cupola.loadtests.simulate.arrivals import Arrival
from cupola.loadtests.simulate.cost_model import CostModel
from cupola.loadtests.simulate.outcome import Simulated
from cupola.loadtests.simulate.queue_scheduler import QueueScheduler, SimulatedScheduler
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.spread import DrawnRatios
from cupola.loadtests.simulate.whole_scheduler import WholeScheduler
from cupola.loadtests.simulate.worker import EngineSize, SimulatedWorker

_SAMPLES = 400  # points of the queue's plot at most
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Failure:
    """A worker ends without a goodbye, and is back after some seconds."""

    at: float
    worker: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Growth:
    """So many workers more."""

    at: float
    workers: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated."""

    costs: CostModel
    size: EngineSize = field(default_factory=EngineSize)
    workers: int = 1
    queue_limit: int = 256
    queue_timeout: float = 300.0
    events: tuple[Failure | Growth, ...] = ()
    whole: bool = False  # every message goes through the whole scheduler; slow
    seed: int = 0  # of the good and the bad moments

    @property
    def fails(self) -> bool:
        return any(isinstance(event, Failure) for event in self.events)


class Simulation:
    """Once: ``run`` may be called once."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._overhead = setup.costs.overhead
        self._drawn, self._chance = DrawnRatios(setup.costs.spread, setup.seed), Random(setup.seed)
        limits = (setup.size.slots, setup.queue_limit, setup.queue_timeout)
        self._scheduler: SimulatedScheduler
        self._tells_starts = setup.fails
        if setup.whole or setup.fails:
            names = [_name(number) for number in range(setup.workers)]
            self._scheduler = WholeScheduler(self._start, self._refuse, names, *limits)
        else:
            self._scheduler = QueueScheduler(self._start, self._refuse, *limits)
        # When, a number that tells two apart, and what. A worker's steps end, if nothing else.
        self._events: list[tuple[float, int, object]] = []
        self._order = count()
        self._workers: dict[str, SimulatedWorker] = {}
        self._numbers, self._arrivals = count(), count()
        self._clients: Iterator[tuple[int, int, int]] | None = None
        self._expiry = _NEVER
        self._next_note = 0.0
        self.result = Simulated()

    def run(self, arrivals: Iterable[Arrival], clients: int = 0) -> Simulated:
        """``clients``: a closed loop of so many, who ask for the sizes of the arrivals in turn."""
        for number in range(self._setup.workers):
            self._join(_name(number), 0.0)
        for event in self._setup.events:
            self._push(event.at, event)
        coming = iter(arrivals)
        if clients:
            self._clients = ((each.prompt, each.tokens, each.cached) for each in coming)
            coming = iter([Arrival(0.0, *size) for size in islice(self._clients, clients)])
        with _no_garbage_collection():
            self._run(coming)
        return self.result

    def _run(self, coming: Iterator[Arrival]) -> None:
        events, submit, step, happen = self._events, self._submit, self._step, self._happen
        arrival = next(coming, None)
        while arrival is not None or events:
            if arrival is not None and (not events or arrival[0] <= events[0][0]):
                submit(arrival, arrival[0])
                arrival = next(coming, None)
                continue
            now, _, what = events[0]
            if type(what) is SimulatedWorker and what.busy_until == now:
                step(what, now)
                continue
            heappop(events)
            if type(what) is not SimulatedWorker:  # else a later event of it is in the heap
                happen(what, now)

    # -- events ------------------------------------------------------------------------------------

    def _happen(self, what: object, now: float) -> None:
        match what:
            case Arrival():
                self._submit(what, now)
            case Failure():
                self._fail(what, now)
            case Growth():
                for _ in range(what.workers):
                    self._join(f"more/{next(self._numbers)}", now)
            case str():
                self._join(what, now)
            case _:
                self._expiry = _NEVER
                self._scheduler.expire(now)
                self._watch_deadlines()

    def _submit(self, arrival: Arrival, now: float) -> None:
        _, prompt, tokens, cached = arrival
        request = SimulatedRequest(next(self._arrivals), now, prompt, tokens, cached)
        if self._scheduler.arrives(request, now):
            self._watch_deadlines()
        if now >= self._next_note:
            self._note_queue(now)

    def _step(self, worker: SimulatedWorker, now: float) -> None:
        """The first event of the heap: a worker's step, or several, end."""
        finished = worker.end()
        if (until := worker.busy_until) is not None:
            heapreplace(self._events, (until, next(self._order), worker))
        else:
            heappop(self._events)
        if finished:
            ended = now + self._overhead
            for request in finished:
                self.result.add(request, ended, self._overhead)
                if self._clients is not None:
                    self._ask_again(ended)
            self._scheduler.ended(worker, finished, now)
        elif self._tells_starts:
            self._scheduler.ended(worker, finished, now)
        if now >= self._next_note:
            self._note_queue(now)

    def _fail(self, failure: Failure, now: float) -> None:
        name = _name(failure.worker)
        if (worker := self._workers.pop(name, None)) is None:
            return
        worker.busy_until = None
        self._scheduler.dies(worker, now)
        self._push(now + failure.seconds, name)

    def _join(self, name: str, now: float) -> None:
        setup = self._setup
        number, place = next(self._numbers), self._chance.random()
        worker = SimulatedWorker(
            setup.size, setup.costs, name=name, number=number, drawn=self._drawn, place=place
        )
        self._workers[name] = worker
        self._scheduler.joins(worker, now)

    # -- what is decided ---------------------------------------------------------------------------

    def _start(self, request: SimulatedRequest, worker: SimulatedWorker, now: float) -> None:
        before = worker.busy_until
        worker.add(request, now)
        if worker.busy_until is not None and worker.busy_until != before:
            self._push(worker.busy_until, worker)

    def _refuse(self, request: SimulatedRequest, now: float) -> None:
        if request.first is None:
            self.result.refused += 1
        else:
            self.result.lost += 1
        self._ask_again(now)

    def _ask_again(self, now: float) -> None:
        if self._clients is not None and (size := next(self._clients, None)) is not None:
            self._push(now, Arrival(now, *size))

    # -- helpers -----------------------------------------------------------------------------------

    def _watch_deadlines(self) -> None:
        """Let the scheduler act when the next waiting request expires."""
        deadline = self._scheduler.next_deadline()
        if deadline is not None and deadline < self._expiry:
            self._expiry = deadline
            self._push(deadline, None)

    def _note_queue(self, now: float) -> None:
        """Every so often, so that long simulations have as many points as short ones."""
        points = self.result.queue
        if len(points) >= 2 * _SAMPLES:
            del points[::2]
        points.append((now, self._scheduler.waiting))
        self._next_note = now * (1 + 1 / _SAMPLES)

    def _push(self, at: float, what: object) -> None:
        heappush(self._events, (at, next(self._order), what))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Nothing here refers to itself, and looking for it takes a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _name(number: int) -> str:
    return f"cpu:0/{number}"
