"""Many workers and requests, second by simulated second, under the real scheduler. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import NamedTuple

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.loadtests.load.results import percentile
from cupola.loadtests.simulate.arrivals import Arrival
from cupola.loadtests.simulate.cost_model import CostModel
from cupola.loadtests.simulate.worker import EngineSize, SimulatedSequence, SimulatedWorker
from cupola.scheduler.core import Scheduler
from cupola.scheduler.policy import SchedulerPolicy
from cupola.scheduler.protocol.messages import (
    LocalModel,
    Output,
    Outputs,
    Ready,
    Rejected,
    Submit,
    Usage,
)
from cupola.scheduler.records import Send

_GATEWAY = b"gateway"
_MODEL = LocalModel("model", "model", ExecutionProvider.CPU)
_WORK = msgspec.Raw(b"")
_USAGE = Usage(0, 0)  # the scheduler only counts with it
_FOREVER = 1e12
_SAMPLES = 400  # points of the queue's plot at most
_ARRIVES, _STEPS, _FAILS, _JOINS, _EXPIRES = range(5)


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


class Finished(NamedTuple):
    """A request that was answered. Seconds from the start of the simulation."""

    arrived: float
    first: float
    ended: float
    tokens: int


@dataclass(slots=True)
class Simulated:
    """What came out."""

    finished: list[Finished] = field(default_factory=list)
    refused: int = 0  # the queue was full, or they waited for too long
    lost: int = 0  # their worker had begun to answer when it ended
    end: float = 0.0
    queue: list[tuple[float, int]] = field(default_factory=list)  # requests without a worker

    def figures(self, ttft: float = 1.0) -> dict[str, float]:
        """Times in ms, rates a second. ``ttft``: the objective of goodput, in seconds."""
        first = sorted(each.first - each.arrived for each in self.finished)
        whole = sorted(each.ended - each.arrived for each in self.finished)
        paces = [(e.ended - e.first) / (e.tokens - 1) for e in self.finished if e.tokens > 1]
        tokens = sum(each.tokens for each in self.finished)
        began = min((each.arrived for each in self.finished), default=0.0)
        span = max(1e-9, self.end - began)
        return {
            "ok": len(self.finished),
            "refused": self.refused,
            "lost": self.lost,
            "requests_s": len(self.finished) / span,
            "tokens_s": tokens / span,
            "goodput_s": sum(each <= ttft for each in first) / span,
            "ttft_p50_ms": percentile(first, 50) * 1000,
            "ttft_p99_ms": percentile(first, 99) * 1000,
            "tpot_p50_ms": percentile(paces, 50) * 1000,
            "e2e_p50_ms": percentile(whole, 50) * 1000,
            "e2e_p99_ms": percentile(whole, 99) * 1000,
            "waiting": sum(first) / span,  # without a first text, on average (Little's law)
        }


class Simulation:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        names = {self._name(number): ExecutionProvider.CPU for number in range(setup.workers)}
        policy = SchedulerPolicy(
            workers=names,
            queue_limit=setup.queue_limit,
            queue_timeout=setup.queue_timeout,
            lease=_FOREVER,  # nobody sends heartbeats here
        )
        self._scheduler = Scheduler(policy, "simulation")
        self._events: list[tuple[float, int, int, object]] = []
        self._order = count()
        self._workers: dict[bytes, SimulatedWorker] = {}
        self._lives = count()
        self._peers: dict[str, bytes] = {}
        self._open: dict[str, Arrival] = {}
        self._first: dict[str, float] = {}
        self._ids = count()
        self._tells_starts = any(isinstance(event, Failure) for event in setup.events)
        self._clients: Iterator[tuple[int, int, int]] | None = None
        self._expiry: float | None = None
        self.result = Simulated()

    def run(self, arrivals: Iterable[Arrival], clients: int = 0) -> Simulated:
        """``clients``: a closed loop of so many, who ask for the sizes of the arrivals in turn."""
        for number in range(self._setup.workers):
            self._join(self._name(number), 0.0)
        for event in self._setup.events:
            self._push(event.at, _FAILS if isinstance(event, Failure) else _JOINS, event)
        coming = iter(arrivals)
        if clients:
            self._clients = ((each.prompt, each.tokens, each.cached) for each in coming)
            coming = iter([Arrival(0.0, *size) for size in islice(self._clients, clients)])
        self._coming = coming
        self._next_arrival()
        while self._events:
            now, kind, _, what = heapq.heappop(self._events)
            self._happen(kind, what, now)
        return self.result

    # -- events ------------------------------------------------------------------------------------

    def _happen(self, kind: int, what: object, now: float) -> None:
        match kind:
            case k if k == _ARRIVES:
                assert isinstance(what, Arrival)
                self._next_arrival()
                self._submit(what, now)
            case k if k == _STEPS:
                assert isinstance(what, bytes)
                self._step(what, now)
            case k if k == _FAILS:
                assert isinstance(what, Failure)
                self._fail(what, now)
            case k if k == _JOINS:
                assert isinstance(what, Growth | str)
                if isinstance(what, str):
                    self._join(what, now)
                else:
                    for _ in range(what.workers):
                        self._join(f"more/{next(self._lives)}", now)
            case _:
                self._expiry = None
                self._deliver(self._scheduler.tick(now), now)
                self._watch_deadlines()

    def _next_arrival(self) -> None:
        if (arrival := next(self._coming, None)) is not None:
            self._push(arrival.at, _ARRIVES, arrival)

    def _submit(self, arrival: Arrival, now: float) -> None:
        request_id = f"{next(self._ids)}"
        self._open[request_id] = arrival._replace(at=now)
        sends = self._scheduler.receive(_GATEWAY, Submit(request_id, _MODEL, _WORK), now)
        self._deliver(sends, now)
        if len(self._scheduler.queue):
            self._watch_deadlines()
        self._note_queue(now)

    def _step(self, peer: bytes, now: float) -> None:
        worker = self._workers.get(peer)
        if worker is None or worker.busy_until is None or worker.busy_until > now:
            return  # it is gone, or a later event of it is in the queue
        told = worker.end()
        for request_id in told.started:
            self._first[request_id] = now + self._setup.costs.overhead
        outputs = [Output(request_id, usage=_USAGE) for request_id in told.finished]
        if self._tells_starts:
            gone = set(told.finished)
            outputs += [Output(i, made=1) for i in told.started if i not in gone]
        if worker.busy_until is not None:
            self._push(worker.busy_until, _STEPS, peer)
        if outputs:
            self._deliver(self._scheduler.receive(peer, Outputs(tuple(outputs)), now), now)
            self._note_queue(now)

    def _fail(self, failure: Failure, now: float) -> None:
        name = self._name(failure.worker)
        peer = self._peers.pop(name, None)
        if peer is None:
            return
        self._workers.pop(peer)
        self._deliver(self._scheduler.process_ended(name, now), now)
        self._push(now + failure.seconds, _JOINS, name)

    def _join(self, name: str, now: float) -> None:
        peer = f"{name} {next(self._lives)}".encode()
        self._peers[name] = peer
        self._workers[peer] = SimulatedWorker(self._setup.size, self._setup.costs)
        ready = Ready(name, ExecutionProvider.CPU, 0, self._setup.size.slots, (_MODEL.id,))
        self._deliver(self._scheduler.receive(peer, ready, now), now)

    # -- what the scheduler sends ------------------------------------------------------------------

    def _deliver(self, sends: Iterable[Send], now: float) -> None:
        for peer, message in sends:
            match message:
                case Submit():
                    self._start(peer, message.request_id, now)
                case Outputs():
                    for output in message.outputs:
                        if output.last:
                            self._finish(output.request_id, now)
                case Rejected():
                    self._reject(message.request_id, now)

    def _start(self, peer: bytes, request_id: str, now: float) -> None:
        worker, arrival = self._workers[peer], self._open[request_id]
        before = worker.busy_until
        _, prompt, tokens, cached = arrival
        worker.add(SimulatedSequence(request_id, prompt, tokens, cached), now)
        if worker.busy_until is not None and worker.busy_until != before:
            self._push(worker.busy_until, _STEPS, peer)

    def _finish(self, request_id: str, now: float) -> None:
        arrival = self._open.pop(request_id)
        end = now + self._setup.costs.overhead
        first = self._first.pop(request_id, end)
        self.result.finished.append(Finished(arrival.at, first, end, arrival.tokens))
        self.result.end = max(self.result.end, end)
        self._ask_again(end)

    def _reject(self, request_id: str, now: float) -> None:
        self._open.pop(request_id)
        if self._first.pop(request_id, None) is None:
            self.result.refused += 1
        else:
            self.result.lost += 1
        self._ask_again(now)

    def _ask_again(self, now: float) -> None:
        if self._clients is not None and (size := next(self._clients, None)) is not None:
            self._push(now, _ARRIVES, Arrival(now, *size))

    # -- helpers -----------------------------------------------------------------------------------

    def _watch_deadlines(self) -> None:
        """Let the scheduler act when the next waiting request expires."""
        deadline = self._scheduler.queue.next_deadline()
        if deadline is not None and (self._expiry is None or deadline < self._expiry):
            self._expiry = deadline
            self._push(deadline, _EXPIRES, None)

    def _note_queue(self, now: float) -> None:
        """Every so often, so that long simulations have as many points as short ones."""
        points = self.result.queue
        if len(points) >= 2 * _SAMPLES:
            del points[::2]
        if not points or now - points[-1][0] >= now / _SAMPLES:
            points.append((now, len(self._scheduler.queue)))

    def _push(self, at: float, kind: int, what: object) -> None:
        heapq.heappush(self._events, (at, kind, next(self._order), what))

    @staticmethod
    def _name(number: int) -> str:
        return f"cpu:0/{number}"
