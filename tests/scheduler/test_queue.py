"""The order of waiting requests, against a plain list."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import LoadModel, LocalModel
from cupola.scheduler.queue import WaitingQueue
from cupola.scheduler.records import Request

MODEL = LocalModel("m:1", "/models/m", ExecutionProvider.CPU)
LIMIT = 3


def request(arrival: int, deadline: float = 60.0) -> Request:
    return Request(b"g", LoadModel(f"r{arrival}", MODEL), arrival, deadline)


@pytest.fixture
def queue() -> WaitingQueue:
    return WaitingQueue(LIMIT)


def test_first_come_first_served(queue: WaitingQueue) -> None:
    requests = [request(arrival) for arrival in range(3)]
    for one in requests:
        queue.push(one)
    assert list(queue) == requests
    assert len(queue) == 3


def test_a_request_that_comes_back_gets_its_old_place(queue: WaitingQueue) -> None:
    first, second, third = (request(arrival) for arrival in range(3))
    for one in (first, second, third):
        queue.push(one)
    queue.remove(second)
    assert list(queue) == [first, third]
    queue.push(second)
    assert list(queue) == [first, second, third]


def test_a_full_queue_has_no_room_but_takes_back_what_was_in_it(queue: WaitingQueue) -> None:
    earlier = request(0)
    for arrival in range(1, 1 + LIMIT):
        assert queue.has_room(request(arrival))
        queue.push(request(arrival))
    assert not queue.has_room(request(9))
    queue.push(earlier)
    assert next(iter(queue)) is earlier
    assert len(queue) == LIMIT + 1


def test_deadlines_need_not_be_in_the_order_of_service(queue: WaitingQueue) -> None:
    patient, hasty = request(0, deadline=60.0), request(1, deadline=5.0)
    queue.push(patient)
    queue.push(hasty)
    assert queue.next_deadline() == 5.0
    assert queue.expired(4.9) == []
    assert queue.expired(5.0) == [hasty]
    assert list(queue) == [patient, hasty]
    queue.remove(hasty)
    assert queue.next_deadline() == 60.0


def test_removing_what_does_not_wait_changes_nothing(queue: WaitingQueue) -> None:
    queue.push(request(0))
    queue.remove(request(0))  # an equal one is another one
    queue.remove(request(1))
    assert len(queue) == 1


def test_an_empty_queue_has_no_deadline(queue: WaitingQueue) -> None:
    assert queue.next_deadline() is None
    assert queue.expired(1e9) == []


def test_the_queue_may_change_while_it_is_read(queue: WaitingQueue) -> None:
    requests = [request(arrival) for arrival in range(3)]
    for one in requests:
        queue.push(one)
    seen = []
    for one in queue:
        queue.remove(one)
        seen.append(one)
    assert seen == requests
    assert len(queue) == 0


class QueueMachine(RuleBasedStateMachine):
    """Random pushes and removals. The reference is an unsorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WaitingQueue(LIMIT)
        self.waiting: list[Request] = []
        self.removed: list[Request] = []
        self.arrivals = 0

    @rule(deadline=st.integers(0, 5))
    def push(self, deadline: int) -> None:
        new = request(self.arrivals, float(deadline))
        assert self.queue.has_room(new) is (len(self.waiting) < LIMIT)
        self.arrivals += 1
        self.queue.push(new)
        self.waiting.append(new)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.waiting:
            one = data.draw(st.sampled_from(self.waiting))
            self.queue.remove(one)
            self.waiting.remove(one)
            self.removed.append(one)

    @rule(data=st.data())
    def push_back(self, data: st.DataObject) -> None:
        if self.removed:
            one = data.draw(st.sampled_from(self.removed))
            self.queue.push(one)
            self.removed.remove(one)
            self.waiting.append(one)

    @rule(now=st.integers(-1, 6))
    def expire(self, now: int) -> None:
        expired = self.queue.expired(float(now))
        assert set(expired) == {one for one in self.waiting if one.deadline <= now}
        assert len(expired) == len(set(expired))
        for one in expired:
            self.queue.remove(one)
            self.waiting.remove(one)

    @invariant()
    def it_holds_what_the_list_holds(self) -> None:
        assert list(self.queue) == sorted(self.waiting, key=lambda one: one.arrival)
        assert len(self.queue) == len(self.waiting)
        assert all(one in self.queue for one in self.waiting)
        assert not any(one in self.queue for one in self.removed)
        deadlines = [one.deadline for one in self.waiting]
        assert self.queue.next_deadline() == min(deadlines, default=None)


TestQueue = QueueMachine.TestCase
