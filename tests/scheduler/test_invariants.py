"""Random event sequences: whatever happens, every request ends exactly once."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outputs,
    Postponed,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Submit,
    ToScheduler,
    Turn,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.pool import Member, Then
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send
from cupola.service.processes.worker_pool import PoolError, WorkerPool
from tests.examples import examples

CPU = ExecutionProvider.CPU
WORK = encode_work(Work(Text("hi")))
NAMES = ("cpu:0/0", "cpu:0/1", "cpu:0/2")
GATEWAYS = (b"g0", b"g1")
MODELS = tuple(LocalModel(name, f"/{name}", CPU) for name in ("a:1", "b:1"))
SLOTS, SPARE = 3, 1
CLIENTS = ("one", "two")


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        policy = SchedulerPolicy(
            dict.fromkeys(NAMES[:2], CPU), queue_limit=6, queue_tokens=60, queue_timeout=20
        )
        self.scheduler = Scheduler(policy, "epoch")
        self.now = 0.0
        self.numbers = Counter[str]()
        self.lives: dict[str, bytes] = {}  # by worker name: its identity now
        self.running: dict[bytes, set[str]] = {}  # by worker: the ids of what it was sent
        self.resident: dict[bytes, tuple[str, ...]] = {}  # by worker
        self.gateway_of: dict[str, bytes] = {}  # by request id
        self.ended = Counter[str]()
        self.begun: set[str] = set()  # there was output
        self.ever_postponed: set[str] = set()
        self.abandoned: set[str] = set()  # aborted, or its gateway went away
        self.pool = WorkerPool(dict.fromkeys(NAMES[:2], CPU))
        self.drained: set[str] = set()  # names that the scheduler has told

    def feed(self, sends: list[Send]) -> None:
        for name in self.scheduler.drained():
            assert name not in self.drained, "each is told once"
            self.drained.add(name)
        for peer, message in sends:
            match message:
                case Submit() | LoadModel():
                    assert not self.scheduler.workers[peer].leaving
                    self.running.setdefault(peer, set()).add(message.request_id)
                case Abort():
                    self.running.get(peer, set()).discard(message.request_id)
                case Outputs():
                    for output in message.outputs:
                        self.begun.add(output.request_id)
                        self.answered(peer, output.request_id, output.last)
                case Rejoin():
                    self.running[peer].clear()
                    (name,) = (name for name, life in self.lives.items() if life == peer)
                    self.message(peer, Ready(name, CPU, 1, SLOTS, self.resident[peer], spare=SPARE))
                case Rejected() | Done():
                    self.answered(peer, message.request_id, True)

    def answered(self, peer: bytes, request_id: str, last: bool) -> None:
        assert self.gateway_of[request_id] == peer
        assert self.ended[request_id] == 0, "nothing follows the end"
        self.ended[request_id] += last

    def message(self, peer: bytes, message: ToScheduler) -> None:
        self.feed(self.scheduler.receive(peer, message, self.now))

    @rule(
        gateway=st.sampled_from(GATEWAYS),
        model=st.sampled_from(MODELS),
        load=st.booleans(),
        turn=st.builds(
            Turn,
            st.sampled_from(CLIENTS),
            st.integers(-1, 2),
            st.sampled_from([None, 0.0, 3.0, 99.0]),
        ),
    )
    def submit(self, gateway: bytes, model: LocalModel, load: bool, turn: Turn) -> None:
        self.numbers["request"] += 1
        request_id = f"r{self.numbers['request']}"
        self.gateway_of[request_id] = gateway
        self.numbers["submit"] += not load
        message = (
            LoadModel(request_id, model) if load else Submit(request_id, model, WORK, turn=turn)
        )
        self.message(gateway, message)

    @rule(name=st.sampled_from(NAMES), loaded=st.booleans())
    def worker_starts(self, name: str, loaded: bool = True) -> None:
        self.numbers["life"] += 1
        self.lives[name] = peer = f"{name}-{self.numbers['life']}".encode()
        self.running[peer] = set()
        self.resident[peer] = tuple(model.id for model in MODELS) if loaded else ()
        self.message(peer, Ready(name, CPU, 1, SLOTS, self.resident[peer], spare=SPARE))

    @rule(name=st.sampled_from(NAMES))
    def worker_dies(self, name: str) -> None:
        if self.lives.pop(name, None):
            self.feed(self.scheduler.process_ended(name, self.now))

    @rule(add=st.booleans(), name=st.sampled_from(NAMES), then=st.sampled_from(Then))
    def operator_changes_the_pool(self, add: bool, name: str, then: Then) -> None:
        try:
            if add:
                self.pool.add("cpu:0", CPU)
            else:
                self.pool.leave(name, then)
        except PoolError:
            return
        self.drained &= {n for n in NAMES if self.pool.leaves(n)}
        self.feed(self.scheduler.expect(self.pool.members, self.now))

    @rule(goodbye=st.booleans(), crash=st.booleans())
    def processes_of_the_drained_end(self, goodbye: bool, crash: bool) -> None:
        for name in sorted(self.drained):
            if not self.pool.leaves(name):
                continue
            if (peer := self.lives.pop(name, None)) and goodbye:
                self.message(peer, Goodbye())
            ended = self.scheduler.process_ended if crash else self.scheduler.process_left
            self.feed(ended(name, self.now))
            self.pool.ended(name)
            self.feed(self.scheduler.expect(self.pool.members, self.now))
        self.drained.clear()

    @rule(data=st.data())
    def grammars_are_not_ready(self, data: st.DataObject) -> None:
        """For some of the requests that have no output yet; for all others they are."""
        for peer in sorted(self.lives.values()):
            fresh = sorted(self.running[peer] - self.begun)
            late = data.draw(st.sets(st.sampled_from(fresh))) if fresh else set()
            self.ever_postponed |= late
            self.message(peer, Postponed(tuple(sorted(late))))

    @rule(data=st.data(), end=st.sampled_from(["no", "output", "error", "no load"]))
    def worker_answers(self, data: st.DataObject, end: str) -> None:
        alive = sorted(self.lives.values())
        running = [(peer, r) for peer in alive for r in sorted(self.running[peer])]
        if not running:
            return
        peer, request_id = data.draw(st.sampled_from(running))
        if request_id not in self.gateway_of:  # a load that no gateway has asked for
            self.running[peer].discard(request_id)
            full = Rejected(request_id, ErrorCode.NO_MEMORY, "full")
            self.message(peer, full if end == "error" else Done(request_id))
            return
        ending = (FinishReason.STOP, Usage(1, 1)) if end == "output" else ()
        if end != "no":
            self.running[peer].discard(request_id)
        if end in ("error", "no load"):
            failed = end == "no load"
            code = ErrorCode.MODEL_LOAD_FAILED if failed else ErrorCode.INTERNAL
            self.message(peer, Rejected(request_id, code, "broken"))
        else:
            self.message(peer, Outputs((Output(request_id, "x", *ending),)))

    @rule(data=st.data())
    def client_goes_away(self, data: st.DataObject) -> None:
        open_ = sorted(r for r in self.gateway_of if not self.ended[r] and r not in self.abandoned)
        if open_:
            request_id = data.draw(st.sampled_from(open_))
            self.abandoned.add(request_id)
            self.message(self.gateway_of[request_id], Abort(request_id))

    @rule(gateway=st.sampled_from(GATEWAYS))
    def gateway_dies(self, gateway: bytes) -> None:
        self.abandoned |= {r for r, by in self.gateway_of.items() if by == gateway}
        self.feed(self.scheduler.unreachable(gateway, self.now))

    @rule(seconds=st.sampled_from([0.5, 6.0, 11.0]), silent=st.sets(st.sampled_from(NAMES)))
    def time_passes(self, seconds: float, silent: set[str]) -> None:
        """Workers that are silent for too long lose their leases, and come back later."""
        self.now += seconds
        for name, peer in list(self.lives.items()):
            if name not in silent:
                self.message(peer, Heartbeat(0, self.resident[peer]))
        for gateway in GATEWAYS:
            self.message(gateway, Query())
        self.feed(self.scheduler.tick(self.now))

    @rule(name=st.sampled_from(NAMES), heartbeats=st.integers(2, 4))
    def worker_was_stopped(self, name: str, heartbeats: int) -> None:
        """Its heartbeats come all at once, after its lease."""
        peer = self.lives.get(name)
        if peer is None:
            return
        self.now += 11.0
        for gateway in GATEWAYS:
            self.message(gateway, Query())
        self.feed(self.scheduler.tick(self.now))
        beat = Heartbeat(0, self.resident[peer])
        sends = [s for _ in range(heartbeats) for s in self.scheduler.receive(peer, beat, self.now)]
        asked = [send for send in sends if isinstance(send.message, Rejoin)]
        if asked:
            self.running[peer].clear()
        self.feed([send for send in sends if send not in asked])
        for _ in asked:
            self.message(peer, Ready(name, CPU, 1, SLOTS, self.resident[peer], spare=SPARE))

    @invariant()
    def what_runs_was_sent(self) -> None:
        for peer, worker in self.scheduler.workers.items():
            assert set(worker.running) <= self.running.get(peer, set())

    @invariant()
    def every_open_request_is_known_and_no_other(self) -> None:
        open_ = {r for r in self.gateway_of if not self.ended[r] and r not in self.abandoned}
        known = set(self.scheduler.requests)
        assert open_ <= known
        assert known <= open_ | self.abandoned - set(self.ended.elements())

    @invariant()
    def each_request_waits_or_runs_once(self) -> None:
        scheduler = self.scheduler
        queued = {request.id for request in scheduler.queue}
        running = [r for worker in scheduler.workers.values() for r in worker.running]
        assert len(running) == len(set(running))
        assert queued | set(running) == set(scheduler.requests)
        assert not queued & set(running)
        assert all(0 <= worker.free <= SLOTS for worker in scheduler.workers.values())
        for request_id, request in scheduler.requests.items():
            assert (request.worker is None) == (request_id in queued)

    @invariant()
    def nobody_waits_beside_a_free_worker(self) -> None:
        """Unless there is a suspect, which needs a worker for itself, or a slot is spare."""
        waiting = list(self.scheduler.queue)
        suspicion = self.scheduler.suspicion
        if not any(map(suspicion.kept_apart, self.scheduler.requests.values())):
            for worker in self.scheduler.workers.serving(CPU):
                assert not any(worker.room_for(request.client) for request in waiting)
        if waiting:
            assert all(w.running or w.leaving for w in self.scheduler.workers.values())

    @invariant()
    def nothing_runs_on_the_drained(self) -> None:
        for name in self.drained:
            workers = self.scheduler.workers.named(name)
            assert not any(worker.running for worker in workers if worker.leaving)

    @invariant()
    def a_suspect_has_nobody_beside_it(self) -> None:
        for worker in self.scheduler.workers.values():
            running = worker.running.values()
            assert len(running) == 1 or not any(request.suspect for request in running)

    @invariant()
    def the_last_slots_are_for_newcomers(self) -> None:
        """A client cannot take the spare slots of a worker, unless grammars came late there."""
        for worker in self.scheduler.workers.values():
            usual = [r for r in worker.running.values() if r.id not in self.ever_postponed]
            clients = Counter(request.client for request in usual)
            assert max(clients.values(), default=0) <= SLOTS - SPARE

    @invariant()
    def no_client_fills_the_queue(self) -> None:
        """Besides those that came back because they had lost their workers."""
        queue = self.scheduler.queue
        for client in CLIENTS:
            own = [r for r in queue if r.client == client and not r.returned]
            assert len(own) < 6

    @invariant()
    def suspects_have_no_output_yet(self) -> None:
        for request_id, request in self.scheduler.requests.items():
            assert not (request.suspect and request_id in self.begun)

    @invariant()
    def those_that_hold_no_slot_are_known_to_run_and_make_room(self) -> None:
        for worker in self.scheduler.workers.values():
            assert worker.postponed <= worker.running.keys()
            holding = len(worker.running) - len(worker.postponed)
            assert worker.free == max(0, SLOTS - holding)
        status = self.scheduler.status(self.now)
        assert status.queued + sum(worker.running for worker in status.workers) == len(
            self.scheduler.requests
        )

    @invariant()
    def each_request_is_counted_once_or_open(self) -> None:
        totals = self.scheduler.status(self.now).totals
        counted = totals.answered + totals.refused + totals.failed + totals.aborted
        open_ = self.scheduler.requests.values()
        submits = sum(isinstance(request.message, Submit) for request in open_)
        assert counted + submits == self.numbers["submit"]

    def teardown(self) -> None:
        """When everything is done, nothing is left."""
        self.feed(self.scheduler.expect([Member(name, CPU) for name in NAMES], self.now))
        self.worker_starts(NAMES[0])
        for _ in range(len(self.gateway_of) + 1):
            for peer in list(self.lives.values()):
                for request_id in sorted(self.running[peer]):
                    self.running[peer].discard(request_id)
                    if request_id not in self.gateway_of:
                        self.message(peer, Done(request_id))
                        continue
                    last = Output(request_id, "", FinishReason.STOP, Usage(1, 1))
                    self.message(peer, Outputs((last,)))
        assert not self.scheduler.requests
        assert not self.scheduler.queue


Machine.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None
)
TestInvariants = Machine.TestCase
