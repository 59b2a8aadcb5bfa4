"""Who is served when many want to be, as clients of a whole scheduler see it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    Outputs,
    Ready,
    Rejected,
    Submit,
    Turn,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/models/m", CPU)
POLICY = SchedulerPolicy({"cpu:0/0": CPU}, queue_limit=10, queue_timeout=60)


class Bench:
    """A scheduler with one worker, which answers what it is told to."""

    def __init__(
        self, policy: SchedulerPolicy = POLICY, slots: int = 1, spare: int = 0, worker: bool = True
    ) -> None:
        self.scheduler = Scheduler(policy, "epoch")
        self.started: list[str] = []
        self.rejected: dict[str, Rejected] = {}
        self.slots, self.spare = slots, spare
        if worker:
            self.worker_joins()

    def worker_joins(self, now: float = 0.0) -> None:
        ready = Ready("cpu:0/0", CPU, 1, self.slots, (MODEL.id,), spare=self.spare)
        self.take(self.scheduler.receive(b"w", ready, now))

    def take(self, sends: list[Send]) -> None:
        for _, message in sends:
            if isinstance(message, Submit):
                self.started.append(message.request_id)
            if isinstance(message, Rejected):
                self.rejected[message.request_id] = message

    def submit(
        self,
        request_id: str,
        client: str = "a",
        priority: int = 0,
        timeout: float | None = None,
        now: float = 0.0,
    ) -> None:
        turn = Turn(client, priority, timeout)
        message = Submit(request_id, MODEL, encode_work(Work(Text("hello"))), turn=turn)
        self.take(self.scheduler.receive(b"g", message, now))

    def end(self, request_id: str, tokens: int = 1, now: float = 0.0) -> None:
        last = Output(request_id, "x", FinishReason.STOP, Usage(1, tokens), made=tokens)
        self.take(self.scheduler.receive(b"w", Outputs((last,)), now))

    def end_all(self, now: float = 0.0) -> list[str]:
        """End what runs until nothing is left; the order in which requests started."""
        for request_id in self.started:
            self.end(request_id, now=now)
        return self.started


def test_a_lone_request_waits_for_one_other_and_not_for_a_whole_flood() -> None:
    bench = Bench()
    for number in range(8):
        bench.submit(f"flood-{number}", "flood")
    bench.submit("lone", "lone")
    bench.end("flood-0")
    assert bench.started == ["flood-0", "lone"]


def test_a_spare_slot_lets_it_start_at_once() -> None:
    bench = Bench(slots=4, spare=1)
    for number in range(8):
        bench.submit(f"flood-{number}", "flood")
    assert bench.started == ["flood-0", "flood-1", "flood-2"]
    bench.submit("lone", "lone")
    assert bench.started[-1] == "lone"
    bench.submit("lone-2", "lone")
    assert bench.started[-1] == "lone"  # it is no newcomer any more


def test_a_client_alone_has_all_slots_but_the_spare_ones() -> None:
    bench = Bench(slots=3, spare=2)
    for number in range(3):
        bench.submit(f"r{number}")
    assert bench.started == ["r0"]
    bench.end("r0")
    assert bench.started == ["r0", "r1"]


def test_who_generates_much_is_served_later() -> None:
    bench = Bench()
    bench.submit("first", "none")
    for number in range(2):
        bench.submit(f"talks-{number}", "talks")
        bench.submit(f"brief-{number}", "brief")
        bench.submit(f"brief-{number + 2}", "brief")
    bench.end("first")
    for request_id in bench.started:
        bench.end(request_id, tokens=500 if request_id.startswith("talks") else 1)
    assert bench.started[-1] == "talks-1"


def test_priorities_and_deadlines_order_the_requests_of_a_client() -> None:
    bench = Bench()
    bench.submit("runs")
    bench.submit("usual")
    bench.submit("soon", timeout=30)
    bench.submit("urgent", priority=-1)
    bench.submit("batch", priority=5)
    assert bench.end_all() == ["runs", "urgent", "soon", "usual", "batch"]


def test_what_has_expired_is_not_run() -> None:
    bench = Bench()
    bench.submit("runs")
    bench.submit("hasty", timeout=2, now=1.0)
    assert bench.scheduler.next_deadline() is not None
    bench.take(bench.scheduler.tick(3.0))
    assert bench.rejected["hasty"].code is ErrorCode.QUEUE_TIMEOUT
    assert "waited 2 s" in bench.rejected["hasty"].message
    bench.end("runs", now=3.0)
    assert bench.started == ["runs"]


def test_a_timeout_of_nothing_is_over_at_once() -> None:
    bench = Bench()
    bench.submit("late", timeout=0.0)
    assert bench.rejected["late"].code is ErrorCode.QUEUE_TIMEOUT
    assert not bench.started


def test_a_client_over_its_share_is_told_when_to_come_again() -> None:
    bench = Bench()
    for number in range(10):
        bench.submit(f"flood-{number}", "flood")
    assert [r.code for r in bench.rejected.values()] == [ErrorCode.CLIENT_LIMIT]
    bench.submit("lone", "lone")
    assert "lone" not in bench.rejected
    for second in range(1, 4):  # one request in two seconds
        bench.end(bench.started[-1], now=2.0 * second)
    bench.submit("more", "flood", now=6.0)
    bench.submit("still-more", "flood", now=6.0)
    bench.submit("too-many", "flood", now=6.0)
    (refusal,) = [r for i, r in bench.rejected.items() if i == "too-many"]
    assert refusal.code is ErrorCode.CLIENT_LIMIT
    assert refusal.retry_after == 16  # eight of its own wait
    assert "try again in 16 s" in refusal.message


def test_a_full_queue_refuses_all() -> None:
    bench = Bench(worker=False)
    for number in range(11):
        bench.submit(f"r{number}", f"client-{number}")
    assert bench.rejected["r10"].code is ErrorCode.QUEUE_FULL
    assert bench.rejected["r10"].retry_after == 1


def test_prompt_tokens_fill_the_queue_as_requests_do() -> None:
    bench = Bench(replace(POLICY, queue_tokens=40), worker=False)
    for number in range(8):
        bench.submit(f"r{number}", f"client-{number}")
    assert {r.code for r in bench.rejected.values()} == {ErrorCode.QUEUE_FULL}
    assert 0 < len(bench.scheduler.queue) < 8


def test_a_request_that_lost_its_worker_is_the_next() -> None:
    bench = Bench()
    bench.submit("a-0", "a")
    bench.submit("b-0", "b")
    bench.take(bench.scheduler.process_ended("cpu:0/0", 0.0))
    bench.worker_joins()
    bench.end_all()
    assert bench.started == ["a-0", "a-0", "b-0"]


@pytest.mark.parametrize("count", [10, 2000])
def test_aborts_leave_nothing_behind(count: int) -> None:
    bench = Bench(replace(POLICY, queue_limit=10 * count), worker=False)
    for number in range(count):
        bench.submit(f"r{number}", f"client-{number % 7}", priority=number % 3)
    for number in range(count):
        bench.take(bench.scheduler.receive(b"g", Abort(f"r{number}"), 0.0))
    assert not bench.scheduler.requests
    assert len(bench.scheduler.queue) == bench.scheduler.queue.tokens == 0
    bench.submit("last", now=1.0)
    bench.worker_joins(now=1.0)
    assert bench.started == ["last"]
