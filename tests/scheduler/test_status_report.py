"""When the gateways are told how things are, without having asked."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    ErrorCode,
    Goodbye,
    Heartbeat,
    Query,
    Ready,
    Rejected,
    Status,
    Submit,
    encode_work,
)
from cupola.scheduler.protocol.pool import Member, Presence
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
GATEWAY, OTHER, WORKER = b"gateway-1", b"gateway-2", b"worker"
NAME = "cpu:0/0"
READY = Ready(NAME, CPU, 1, 4, (MODEL.id,))


def told(sends: Iterable[Send]) -> dict[bytes, Status]:
    """The Status that each gateway gets, at most one, as nobody has asked."""
    found: dict[bytes, Status] = {}
    for peer, message in sends:
        if isinstance(message, Status):
            assert message.answers == 0 and peer not in found
            found[peer] = message
    return found


@pytest.fixture
def scheduler() -> Scheduler:
    """With two gateways and a worker, about which they know."""
    made = Scheduler(SchedulerPolicy(workers={NAME: CPU}, lease=10), "life-1", pid=5)
    for gateway, pid in ((GATEWAY, 21), (OTHER, 22)):
        made.receive(gateway, Query(1, pid=pid), 0)
    sends = made.receive(WORKER, READY, 0)
    assert {peer: status.workers[0].name for peer, status in told(sends).items()} == {
        GATEWAY: NAME,
        OTHER: NAME,
    }
    return made


@pytest.mark.parametrize("how", ["goodbye", "killed", "stopped", "silent", "unreachable"])
def test_that_a_worker_has_gone_is_told_at_once(scheduler: Scheduler, how: str) -> None:
    for gateway in (GATEWAY, OTHER):
        scheduler.receive(gateway, Query(2), 9)
    match how:
        case "goodbye":
            sends = scheduler.receive(WORKER, Goodbye(), 10)
        case "killed":
            sends = scheduler.process_ended(NAME, 10)
        case "stopped":
            sends = scheduler.process_left(NAME, 10)
        case "silent":
            sends = scheduler.tick(10)
        case _:
            sends = scheduler.unreachable(WORKER, 10)
    statuses = told(sends)
    assert set(statuses) == {GATEWAY, OTHER}
    assert all(status.workers == () and status.missing == (NAME,) for status in statuses.values())
    assert told(scheduler.tick(10)) == {}, "it is told once"


def test_that_models_come_and_go_is_told_and_numbers_are_not(scheduler: Scheduler) -> None:
    assert told(scheduler.receive(WORKER, Heartbeat(5, resident=(MODEL.id,)), 1)) == {}
    assert told(scheduler.receive(WORKER, Heartbeat(9, resident=(MODEL.id,)), 1)) == {}
    statuses = told(scheduler.receive(WORKER, Heartbeat(9), 1))
    assert set(statuses) == {GATEWAY, OTHER}
    assert statuses[GATEWAY].workers[0].resident == ()


def test_that_a_model_cannot_be_loaded_is_told(scheduler: Scheduler) -> None:
    work = encode_work(Work(Text("x")))
    assert told(scheduler.receive(GATEWAY, Submit("r", MODEL, work), 1)) == {}
    failed = Rejected("r", ErrorCode.MODEL_LOAD_FAILED, "it is cut off")
    assert set(told(scheduler.receive(WORKER, failed, 1))) == {GATEWAY, OTHER}
    assert told(scheduler.receive(GATEWAY, Submit("s", MODEL, work), 1)) == {}
    refused = Rejected("s", ErrorCode.INVALID_REQUEST, "no")
    assert told(scheduler.receive(WORKER, refused, 1)) == {}


def test_which_workers_should_be_there_is_told(scheduler: Scheduler) -> None:
    members = [Member(NAME, CPU, Presence.LEAVING), Member("cpu:0/1", CPU)]
    status = told(scheduler.expect(members, 1))[GATEWAY]
    assert status.missing == ("cpu:0/1",)
    assert status.workers[0].leaving


def test_a_gateway_that_has_gone_is_told_nothing_and_counts_no_more(scheduler: Scheduler) -> None:
    assert scheduler.status(1).gateways == (21, 22)
    scheduler.unreachable(OTHER, 1)
    assert scheduler.status(1).gateways == (21,)
    assert set(told(scheduler.receive(WORKER, Heartbeat(), 1))) == {GATEWAY}
    scheduler.tick(10)  # GATEWAY was silent for as long
    assert scheduler.status(10).gateways == ()
    assert scheduler.next_deadline() == 11, "only the worker's lease is left"


def test_an_answer_to_a_query_says_which_one(scheduler: Scheduler) -> None:
    (send,) = scheduler.receive(GATEWAY, Query(7, pid=21), 1)
    assert send.peer == GATEWAY
    assert isinstance(send.message, Status)
    assert (send.message.answers, send.message.epoch, send.message.pid) == (7, "life-1", 5)
