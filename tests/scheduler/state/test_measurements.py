"""What the scheduler measures of requests, steps and workers. The time is given."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.histograms import BOUNDS, Distributions, Histogram
from cupola.scheduler.protocol.messages import (
    Heartbeat,
    LoadModel,
    Outputs,
    Query,
    Ready,
    Status,
    Submit,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, PromptProgress, Usage
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
WORKER, GATEWAY = b"worker", b"gateway"


def scheduler() -> Scheduler:
    made = Scheduler(SchedulerPolicy(workers={"w": CPU}), epoch="e")
    made.receive(WORKER, Ready("w", CPU, 1, 4), 0.0)
    return made


def status(made: Scheduler, now: float, http: dict[int, int] | None = None) -> Status:
    [sent] = made.receive(GATEWAY, Query(http=http or {}), now)
    assert isinstance(sent.message, Status)
    return sent.message


def submit(made: Scheduler, name: str, now: float) -> None:
    made.receive(GATEWAY, Submit(name, MODEL, msgspec.Raw(b"\xc0")), now)


def counted(told: Histogram) -> list[int]:
    """The buckets that are not empty."""
    return [place for place, count in enumerate(told.counts) for _ in range(count)]


def place(name: str, value: float) -> int:
    return bisect_left(BOUNDS[name], value)


def test_times_of_a_request() -> None:
    made = scheduler()
    submit(made, "r", 10.0)
    progress = PromptProgress(9, 0, 3, 0.1)
    made.receive(WORKER, Outputs((Output("r", progress=progress),)), 10.3)
    for now, output in (
        (10.75, Output("r", "a", made=1)),
        (11.125, Output("r", "b", made=3)),
        (13.0, Output("r", "", FinishReason.STOP, Usage(1, 4))),
    ):
        made.receive(WORKER, Outputs((output,)), now)
    told = status(made, 14.0).distributions
    assert counted(told.to_first_token) == [place("to_first_token", 0.75)]
    assert counted(told.between_tokens) == [place("between_tokens", 0.125)] * 3
    assert told.between_tokens.total == 0.375
    assert counted(told.whole_request) == [place("whole_request", 3.0)]
    assert counted(told.requests_of_a_step) == [0] * 4


def test_a_step_counts_its_requests_and_not_their_answers() -> None:
    made = scheduler()
    for name in ("a", "b", "c"):
        submit(made, name, 0.0)
    outputs = tuple(Output(name, "x", index=index) for name in "abc" for index in (0, 1))
    made.receive(WORKER, Outputs(outputs), 1.0)
    told = status(made, 1.0).distributions.requests_of_a_step
    assert (counted(told), told.total) == ([place("requests_of_a_step", 3)], 3.0)


def test_loads_are_no_requests_with_a_first_token() -> None:
    made = scheduler()
    made.receive(GATEWAY, LoadModel("l", MODEL), 0.0)
    made.receive(WORKER, Outputs((Output("l", "x"),)), 1.0)
    assert counted(status(made, 1.0).distributions.to_first_token) == []


def test_the_oldest_request_of_the_queue() -> None:
    made = Scheduler(SchedulerPolicy(workers={"w": CPU}), epoch="e")
    assert status(made, 5.0).oldest_seconds == 0.0
    submit(made, "a", 5.0)
    submit(made, "b", 6.0)
    assert status(made, 8.0).oldest_seconds == 3.0


def test_loads_unloads_and_restarts_of_workers() -> None:
    made = scheduler()
    made.receive(WORKER, Heartbeat(resident=("m:1", "n:1")), 1.0)
    made.receive(WORKER, Heartbeat(resident=("n:1",), evicted=1), 2.0)
    made.receive(WORKER, Heartbeat(resident=("n:1",), evicted=-5), 2.0)
    made.receive(b"next life", Ready("w", CPU, 2, 4), 3.0)
    totals = status(made, 4.0).totals
    assert (totals.loads, totals.unloads, totals.worker_restarts) == (2, 1, 1)
    assert totals.evictions == 1


def test_answers_of_all_gateways_are_added_up() -> None:
    made = scheduler()
    status(made, 1.0, http={200: 2, 404: 1, 7: 1, 99999: 1})
    assert status(made, 2.0, http={200: 3, 500: -4}).http == {200: 5, 404: 1, 500: 0}


def test_every_distribution_has_its_bounds() -> None:
    assert set(BOUNDS) == set(Distributions.__struct_fields__)
    for bounds in BOUNDS.values():
        assert list(bounds) == sorted(set(bounds))
