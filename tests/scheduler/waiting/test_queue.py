"""The order of waiting requests, against a plain model of what it should be."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cupola.scheduler.waiting.lane import AGEING_SECONDS, MAX_CLASS
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.token_counters import TokenCounters


@dataclass(eq=False)
class Waiter:
    arrival: int
    client: str = "a"
    deadline: float = 60.0
    priority: int = 0
    since: float = 0.0
    size: int = 10
    kind: Hashable = "cpu"
    returned: bool = False


class Bench:
    """A queue whose requests are served one after the other."""

    def __init__(self) -> None:
        self.counters = TokenCounters()
        self.queue: WaitingQueue[Waiter] = WaitingQueue(self.counters)

    def push(self, *waiters: Waiter, now: float = 0.0) -> None:
        for waiter in waiters:
            self.queue.push(waiter, now)

    def head(self, now: float = 0.0) -> Waiter | None:
        with self.queue.round("cpu", now) as order:
            return order.next()

    def serve(self, now: float = 0.0) -> Waiter:
        waiter = self.head(now)
        assert waiter is not None
        self.queue.remove(waiter)
        self.counters.is_next(waiter.client)
        self.counters.charge(waiter.client, prompt=waiter.size)
        return waiter

    def all(self, now: float = 0.0) -> list[int]:
        return [self.serve(now).arrival for _ in range(len(self.queue))]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_client_is_served_in_order_of_arrival(bench: Bench) -> None:
    bench.push(*(Waiter(arrival) for arrival in range(4)))
    assert bench.all() == [0, 1, 2, 3]


def test_clients_take_turns_whoever_came_first(bench: Bench) -> None:
    bench.push(*(Waiter(arrival, "flood") for arrival in range(4)), Waiter(9, "lone"))
    assert bench.all() == [0, 9, 1, 2, 3]


def test_who_had_more_tokens_waits_longer(bench: Bench) -> None:
    bench.push(*(Waiter(n, "long", size=100) for n in range(3)))
    bench.push(*(Waiter(10 + n, "short", size=20) for n in range(6)))
    assert bench.all() == [0, 10, 11, 12, 13, 14, 1, 15, 2]


def test_generated_tokens_count_twice(bench: Bench) -> None:
    bench.push(Waiter(0, "talks"), Waiter(1, "reads"))
    bench.counters.charge("talks", generated=10)
    bench.counters.charge("reads", prompt=19)
    assert bench.all() == [1, 0]


def test_nobody_saves_up_while_it_is_away(bench: Bench) -> None:
    for number in range(50):
        bench.push(Waiter(number, "busy"))
        bench.serve()
    bench.push(*(Waiter(100 + n, "busy") for n in range(3)))
    bench.push(*(Waiter(200 + n, "new") for n in range(3)))
    assert bench.all() in ([100, 200, 101, 201, 102, 202], [200, 100, 201, 101, 202, 102])


def test_what_was_charged_too_much_is_made_good(bench: Bench) -> None:
    bench.push(Waiter(0, "a"), Waiter(1, "b"))
    bench.counters.charge("a", prompt=-50)
    bench.counters.charge("a", prompt=60)
    bench.counters.charge("b", prompt=11)
    assert bench.counters.of("a") == 10
    assert bench.all() == [0, 1]


def test_a_client_can_stand_back_behind_all_others(bench: Bench) -> None:
    bench.push(*(Waiter(n, "batch", priority=3) for n in range(2)), Waiter(9, "chat"))
    assert bench.all() == [9, 0, 1]


def test_an_urgent_request_passes_those_of_its_own_client_only(bench: Bench) -> None:
    bench.push(Waiter(0, "a"), Waiter(1, "b"), Waiter(2, "a", priority=-5))
    assert bench.all() == [2, 1, 0]


def test_who_waits_for_long_moves_up_a_class(bench: Bench) -> None:
    bench.push(Waiter(0, "batch", priority=2, deadline=1e9))
    later = 2 * AGEING_SECONDS
    bench.push(*(Waiter(n, "chat", since=later) for n in (1, 2)), now=later)
    bench.counters.charge("chat", prompt=5)
    assert bench.all(now=later) == [0, 1, 2]


@pytest.mark.parametrize("priority", [MAX_CLASS + 1, 10**9, 2**31 - 1])
def test_the_last_class_has_everything_beyond_it(bench: Bench, priority: int) -> None:
    bench.push(Waiter(0, "a", priority=MAX_CLASS), Waiter(1, "b", priority=priority))
    assert bench.all() == [0, 1]


def test_of_a_client_the_shortest_deadline_goes_first(bench: Bench) -> None:
    bench.push(Waiter(0, deadline=60), Waiter(1, deadline=5), Waiter(2, deadline=60))
    assert bench.all() == [1, 0, 2]


def test_kinds_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.push(Waiter(0, kind="cuda"), Waiter(1))
    assert bench.head() is not None
    assert bench.serve().arrival == 1
    assert bench.head() is None
    assert len(bench.queue) == 1


def test_a_round_leaves_out_what_cannot_start(bench: Bench) -> None:
    first, second, third = waiters = [Waiter(0, "a"), Waiter(1, "a"), Waiter(2, "b")]
    bench.push(*waiters)
    with bench.queue.round("cpu", 0.0) as order:
        order.leave_request(first)
        bench.counters.charge("a", prompt=1)
        assert order.next() is third
        bench.queue.remove(third)
        assert order.next() is second
        order.leave_client("a")
        assert order.next() is None
    assert bench.all() == [0, 1]


def test_a_client_that_is_left_out_is_so_in_every_class(bench: Bench) -> None:
    bench.push(Waiter(0, "a"), Waiter(1, "a", priority=2), Waiter(2, "b", priority=1))
    with bench.queue.round("cpu", 0.0) as order:
        order.leave_client("a")
        waiter = order.next()
        assert waiter is not None
        bench.queue.remove(waiter)
        assert order.next() is None
    assert bench.all() == [0, 1]


def test_a_request_that_comes_back_gets_its_old_place(bench: Bench) -> None:
    first, second, third = waiters = [Waiter(arrival) for arrival in range(3)]
    bench.push(*waiters)
    bench.queue.remove(second)
    assert list(bench.queue) == [first, third]
    bench.push(second)
    assert bench.all() == [0, 1, 2]


def test_who_lost_its_worker_comes_before_all(bench: Bench) -> None:
    bench.push(Waiter(0, "a"), Waiter(1, "b", priority=-9))
    bench.push(Waiter(2, "c", priority=5, returned=True))
    bench.counters.charge("c", prompt=1000)
    assert bench.all()[0] == 2


def test_removing_what_does_not_wait_changes_nothing(bench: Bench) -> None:
    bench.push(Waiter(0))
    bench.queue.remove(Waiter(0))  # an equal one is another one
    assert len(bench.queue) == 1
    assert bench.queue.tokens == 10


def test_an_empty_queue_has_no_deadline(bench: Bench) -> None:
    assert bench.queue.next_deadline() is None
    assert bench.queue.expired(1e9) == []
    assert bench.head() is None


def test_forgotten_clients_gain_nothing() -> None:
    counters = TokenCounters(max_clients=4)
    counters.arrives("busy")
    counters.charge("busy", prompt=1000)
    for number in range(100):
        counters.arrives(f"once-{number}")
        counters.charge(f"once-{number}", prompt=number % 3)
    assert len(counters) <= 5
    assert counters.of("busy") == 1000


class QueueMachine(RuleBasedStateMachine):
    """Random events. The reference is an unsorted list and the paper's rule."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.waiting: list[Waiter] = []
        self.removed: list[Waiter] = []
        self.arrivals = 0
        self.now = 0.0

    @rule(
        deadline=st.integers(0, 5),
        client=st.sampled_from("abc"),
        priority=st.integers(-1, 2),
        size=st.integers(0, 30),
    )
    def push(self, deadline: int, client: str, priority: int, size: int) -> None:
        new = Waiter(self.arrivals, client, self.now + deadline, priority, self.now, size)
        self.arrivals += 1
        self.bench.push(new, now=self.now)
        self.waiting.append(new)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.waiting:
            one = data.draw(st.sampled_from(self.waiting))
            self.bench.queue.remove(one)
            self.waiting.remove(one)
            self.removed.append(one)

    @rule(data=st.data(), lost=st.booleans())
    def push_back(self, data: st.DataObject, lost: bool) -> None:
        if self.removed:
            one = data.draw(st.sampled_from(self.removed))
            one.returned |= lost
            self.bench.push(one, now=self.now)
            self.removed.remove(one)
            self.waiting.append(one)

    @rule(client=st.sampled_from("abc"), prompt=st.integers(-20, 50))
    def is_served(self, client: str, prompt: int) -> None:
        self.bench.counters.charge(client, prompt=prompt)

    @rule()
    def serve(self) -> None:
        if self.waiting:
            self.waiting.remove(self.bench.serve(self.now))

    @rule(seconds=st.sampled_from([1.0, AGEING_SECONDS / 2, AGEING_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        expired = self.bench.queue.expired(self.now)
        assert set(expired) == {one for one in self.waiting if one.deadline <= self.now}
        assert len(expired) == len(set(expired))
        for one in expired:
            self.bench.queue.remove(one)
            self.waiting.remove(one)

    @invariant()
    def it_holds_what_the_list_holds(self) -> None:
        queue = self.bench.queue
        assert list(queue) == sorted(self.waiting, key=lambda one: one.arrival)
        assert len(queue) == len(self.waiting)
        assert not any(one in queue for one in self.removed)
        assert queue.next_deadline() == min((w.deadline for w in self.waiting), default=None)
        assert queue.oldest_since == min((w.since for w in self.waiting), default=None)
        assert queue.tokens == sum(waiter.size for waiter in self.waiting)
        for client in "abc":
            own = [waiter for waiter in self.waiting if waiter.client == client]
            assert queue.requests_of(client) == len(own)
            assert queue.tokens_of(client) == sum(waiter.size for waiter in own)
        assert queue.clients == len({waiter.client for waiter in self.waiting})

    @invariant()
    def the_head_is_of_the_lowest_class_and_of_the_least_served_client(self) -> None:
        head = self.bench.head(self.now)
        if head is None:
            assert not self.waiting
            return
        lowest = min(map(self.aged, self.waiting))
        rivals = [waiter for waiter in self.waiting if self.aged(waiter) == lowest]
        assert head in rivals
        of = self.bench.counters.of
        assert of(head.client) == min(of(waiter.client) for waiter in rivals)
        own = [waiter for waiter in rivals if waiter.client == head.client]
        assert head is min(own, key=lambda w: (w.priority, w.deadline, w.arrival))

    def aged(self, waiter: Waiter) -> int:
        if waiter.returned:
            return -1
        return max(0, max(0, waiter.priority) - int((self.now - waiter.since) / AGEING_SECONDS))


TestQueue = QueueMachine.TestCase
