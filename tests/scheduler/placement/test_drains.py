"""Workers that leave: they finish, their models move, and nothing else is sent to them."""

from __future__ import annotations

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.lines import MAX_LINE_BYTES
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    LoadModel,
    Outputs,
    Ready,
    Rejected,
    Submit,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.pool import (
    MAX_WORKERS,
    AddWorker,
    Member,
    Presence,
    Then,
    WorkerLeaves,
    change_line,
    change_of,
    pool_line,
    pool_of,
)
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL, OTHER = LocalModel("m:1", "/models/m", CPU), LocalModel("o:1", "/models/o", CPU)
WORK = encode_work(Work(Text("hi")))
A, B = "cpu:0/0", "cpu:0/1"


class Pool:
    """A scheduler with two workers. Only the first holds the models."""

    def __init__(self, *names: str) -> None:
        self.names = names or (A, B)
        self.scheduler = Scheduler(SchedulerPolicy(dict.fromkeys(self.names, CPU)), "epoch")
        self.ready(A, MODEL.id, OTHER.id)
        for name in self.names[1:]:
            self.ready(name)

    def ready(self, name: str, *models: str) -> list[Send]:
        return self.scheduler.receive(name.encode(), Ready(name, CPU, 1, 4, models), 0)

    def submit(self, request_id: str, model: LocalModel = MODEL) -> list[Send]:
        return self.scheduler.receive(b"g", Submit(request_id, model, WORK), 0)

    def end(self, request_id: str, worker: str) -> list[Send]:
        last = Output(request_id, "x", FinishReason.STOP, Usage(1, 1))
        return self.scheduler.receive(worker.encode(), Outputs((last,)), 0)

    def leave(self, *leaving: str, stopped: tuple[str, ...] = ()) -> list[LoadModel]:
        """The loads that replace those of the workers that leave."""

        def presence(name: str) -> Presence:
            if name in stopped:
                return Presence.STOPPED
            return Presence.LEAVING if name in leaving else Presence.SERVING

        members = [Member(name, CPU, presence(name)) for name in self.names]
        sends = self.scheduler.expect(members, 0)
        loads = [send for send in sends if isinstance(send.message, LoadModel)]
        assert all(send.peer.decode() not in leaving for send in loads)
        return [send.message for send in loads if isinstance(send.message, LoadModel)]


def test_a_worker_that_leaves_finishes_and_gets_nothing_new() -> None:
    pool = Pool()
    assert pool.submit("one") == [Send(A.encode(), Submit("one", MODEL, WORK))]
    pool.leave(A)
    assert pool.submit("two") == [Send(B.encode(), Submit("two", MODEL, WORK))]
    pool.scheduler.receive(B.encode(), Done("move-1"), 0)
    assert pool.scheduler.drained() == []
    assert pool.end("one", A)
    assert pool.scheduler.drained() == [A]
    assert pool.scheduler.drained() == [], "told once"
    (status,) = [each for each in pool.scheduler.status(0).workers if each.name == A]
    assert status.leaving


def test_models_that_only_it_holds_are_loaded_elsewhere_first() -> None:
    pool = Pool()
    pool.submit("one")
    pool.end("one", A)
    (load,) = pool.leave(A)
    assert load.model == MODEL, "the other was never asked for: nobody knows where it lies"
    assert pool.scheduler.drained() == []
    assert pool.scheduler.receive(B.encode(), Done(load.request_id), 0) == []
    assert pool.scheduler.drained() == [A]


def test_a_load_that_fails_keeps_nobody() -> None:
    pool = Pool()
    pool.submit("one")
    pool.end("one", A)
    (load,) = pool.leave(A)
    full = Rejected(load.request_id, ErrorCode.NO_MEMORY, "no room")
    assert pool.scheduler.receive(B.encode(), full, 0) == []
    assert pool.scheduler.drained() == [A]


def test_the_death_of_who_loads_keeps_nobody() -> None:
    pool = Pool()
    pool.submit("one")
    pool.end("one", A)
    pool.leave(A)
    pool.scheduler.process_ended(B, 0)
    assert pool.scheduler.drained() == [A]


def test_models_that_others_hold_are_not_moved() -> None:
    pool = Pool()
    pool.submit("one")
    pool.end("one", A)
    pool.ready("cpu:0/2", MODEL.id)
    assert pool.leave(A) == []
    assert pool.scheduler.drained() == [A]


def test_requests_wait_while_the_only_worker_is_started_anew() -> None:
    pool = Pool(A)
    pool.submit("one")
    pool.leave(A)
    assert pool.submit("two") == []
    pool.end("one", A)
    assert pool.scheduler.drained() == [A]
    pool.scheduler.process_left(A, 0)
    pool.leave()
    sends = pool.scheduler.receive(b"new", Ready(A, CPU, 2, 4, (MODEL.id,)), 0)
    assert Send(b"new", Submit("two", MODEL, WORK)) in sends


def test_what_had_not_begun_runs_elsewhere_when_it_must_go_at_once() -> None:
    """And nobody is suspected of the death."""
    pool = Pool()
    pool.submit("one")
    pool.submit("two")
    pool.scheduler.receive(A.encode(), Outputs((Output("one", "x"),)), 0)
    pool.leave(A)
    sends = pool.scheduler.process_left(A, 0)
    ended = [s.message for s in sends if isinstance(s.message, Rejected)]
    assert [(end.request_id, end.code) for end in ended] == [("one", ErrorCode.WORKER_LOST)]
    assert Send(B.encode(), Submit("two", MODEL, WORK)) in sends
    assert not pool.scheduler.requests["two"].suspect


def test_a_worker_that_is_not_there_has_nothing_left_to_do() -> None:
    pool = Pool()
    pool.scheduler.process_ended(B, 0)
    pool.leave(B)
    assert pool.scheduler.drained() == [B]


def test_a_stopped_worker_is_not_missing() -> None:
    pool = Pool()
    pool.scheduler.process_left(B, 0)
    pool.leave(stopped=(B,))
    status = pool.scheduler.status(0)
    assert (status.missing, status.stopped) == ((), (B,))
    pool.leave()
    status = pool.scheduler.status(0)
    assert (status.missing, status.stopped) == ((B,), ())


def test_nobody_waits_for_workers_that_will_not_come() -> None:
    pool = Pool(A)
    pool.scheduler.process_left(A, 0)
    pool.leave(stopped=(A,))
    (send,) = pool.submit("one")
    assert isinstance(send.message, Rejected)
    assert send.message.code is ErrorCode.NO_WORKER


def test_lines_carry_the_largest_pool_and_every_change() -> None:
    members = tuple(
        Member(f"tensorrt_rtx:999/{number}", ExecutionProvider.TENSORRT_RTX, Presence.STOPPED)
        for number in range(MAX_WORKERS)
    )
    verb, _, text = pool_line(members).partition(" ")
    assert (verb, pool_of(text)) == ("pool", members)
    assert len(text) < MAX_LINE_BYTES
    for change in (AddWorker("cpu:0", 2), WorkerLeaves(A, Then.REMOVE, now=True)):
        assert change_of(change_line(change).partition(" ")[2]) == change
