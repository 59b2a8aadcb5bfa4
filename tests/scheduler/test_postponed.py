"""A request that waits for its grammar takes no place on its worker."""

from __future__ import annotations

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    Outputs,
    Postponed,
    Ready,
    Rejected,
    Submit,
    encode_work,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/models/m", CPU)
WORK = encode_work(Work(Text("hi")))
SLOTS, LIMIT, PATIENCE = 2, 3, 60.0


class Bench:
    """One worker with two slots, and what it was sent."""

    def __init__(self) -> None:
        policy = SchedulerPolicy(
            {"cpu:0/0": CPU}, queue_limit=LIMIT, queue_timeout=PATIENCE, lease=1e9
        )
        self.scheduler = Scheduler(policy, "epoch")
        self.sent: list[str] = []
        self.rejected: dict[str, ErrorCode] = {}
        self.aborted: list[str] = []
        self.take(self.scheduler.receive(b"w", Ready("cpu:0/0", CPU, 1, SLOTS, (MODEL.id,)), 0))

    def take(self, sends: list[Send]) -> None:
        for _, message in sends:
            match message:
                case Submit(request_id):
                    self.sent.append(request_id)
                case Rejected(request_id, code):
                    self.rejected[request_id] = code
                case Abort(request_id):
                    self.aborted.append(request_id)

    def submit(self, *request_ids: str, now: float = 0.0) -> None:
        for request_id in request_ids:
            self.take(self.scheduler.receive(b"g", Submit(request_id, MODEL, WORK), now))

    def postpone(self, *request_ids: str) -> None:
        self.take(self.scheduler.receive(b"w", Postponed(request_ids), 0))

    def running_and_queued(self) -> tuple[int, int]:
        status = self.scheduler.status(0)
        return status.workers[0].running, status.queued


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_others_take_its_place(bench: Bench) -> None:
    bench.submit("a", "b", "c", "d")
    assert bench.sent == ["a", "b"]
    bench.postpone("a")
    assert bench.sent == ["a", "b", "c"]
    assert bench.running_and_queued() == (2, 2)
    bench.postpone("a", "b")
    assert bench.sent == ["a", "b", "c", "d"]
    assert bench.running_and_queued() == (2, 2)


def test_when_its_grammar_is_ready_it_counts_again(bench: Bench) -> None:
    bench.submit("a", "b")
    bench.postpone("a")
    bench.submit("c")
    bench.postpone()
    bench.submit("d")
    assert bench.sent == ["a", "b", "c"]
    for name in ("b", "c"):  # three run in two slots: one end is not enough for the next
        assert "d" not in bench.sent
        end = Rejected(name, ErrorCode.INVALID_REQUEST, "no")
        bench.take(bench.scheduler.receive(b"w", end, 0))
    assert "d" in bench.sent


def test_it_counts_as_one_that_waits_for_the_limit_of_the_queue(bench: Bench) -> None:
    bench.submit("a", "b")
    bench.postpone("a", "b")
    bench.submit("c", "d", "e")
    assert bench.sent == ["a", "b", "c", "d"]
    bench.submit("f")
    assert bench.rejected == {"f": ErrorCode.QUEUE_FULL}
    assert bench.running_and_queued() == (2, LIMIT)


def test_it_waits_no_longer_than_one_in_the_queue(bench: Bench) -> None:
    bench.submit("a")
    bench.submit("b", now=5.0)
    bench.postpone("a", "b")
    assert bench.scheduler.next_deadline() == PATIENCE
    bench.take(bench.scheduler.tick(PATIENCE))
    assert bench.rejected == {"a": ErrorCode.QUEUE_TIMEOUT}
    assert bench.aborted == ["a"]
    bench.postpone("b")
    assert bench.scheduler.next_deadline() == PATIENCE + 5.0


def test_what_is_aborted_is_not_postponed_any_more(bench: Bench) -> None:
    bench.submit("a", "b", "c")
    bench.postpone("a")
    bench.take(bench.scheduler.receive(b"g", Abort("a"), 0))
    assert bench.running_and_queued() == (2, 0)
    bench.submit("d")
    assert "d" not in bench.sent


def test_after_the_death_of_its_worker_it_waits_in_the_queue(bench: Bench) -> None:
    bench.submit("a", "b")
    bench.postpone("a")
    bench.take(bench.scheduler.process_ended("cpu:0/0", 0))
    assert bench.scheduler.status(0).queued == 2


def test_ids_that_the_worker_does_not_run_and_workers_that_nobody_knows(bench: Bench) -> None:
    bench.submit("a", "b", "c")
    bench.postpone("c", "unknown")
    assert bench.running_and_queued() == (2, 1)
    assert bench.scheduler.receive(b"stranger", Postponed(("a",)), 0) == []
    bench.take(bench.scheduler.receive(b"w", Outputs((Output("a", "x"),)), 0))
    assert bench.sent == ["a", "b"]
