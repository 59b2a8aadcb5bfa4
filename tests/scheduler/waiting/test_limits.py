"""How many may wait, and what those are told that may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.asking import size_of
from cupola.scheduler.protocol.messages import Submit, Turn, encode_work
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    LocalModel,
    Option,
    Question,
    QuestionKind,
    Text,
    Transcribe,
    Work,
)
from cupola.scheduler.state.records import Request
from cupola.scheduler.waiting.limits import Full, QueueLimits
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.service_rate import LONGEST, SHORTEST, ServiceRate
from cupola.scheduler.waiting.token_counters import TokenCounters

MODEL = LocalModel("m:1", "/models/m", ExecutionProvider.CPU)


def request(number: int, client: str = "a", tokens: int = 5) -> Request:
    work = encode_work(Work(Text("x" * (4 * tokens))))
    message = Submit(f"r{number}", MODEL, work, turn=Turn(client))
    return Request(b"g", message, number, 0.0, 60.0)


def counted(task: Decide | Transcribe) -> int:
    """The tokens that a task counts while it waits."""
    work = encode_work(task)
    return Request(b"g", Submit("r", MODEL, work, size=size_of(task, work)), 0, 0.0, 60.0).size


def fill(limits: QueueLimits, clients: list[str], tokens: int = 5) -> dict[str, int]:
    """Clients that send in turn until nobody may wait any more: how many of each wait."""
    queue: WaitingQueue[Request] = WaitingQueue(TokenCounters())
    number, waiting = 0, dict.fromkeys(clients, 0)
    while True:
        before = len(queue)
        for client in clients:
            new = request(number := number + 1, client, tokens)
            if limits.full(queue, new) is None:
                queue.push(new, 0.0)
                waiting[client] += 1
        if len(queue) == before:
            return waiting


def test_one_client_leaves_room_for_others() -> None:
    assert fill(QueueLimits(100, 0), ["a"]) == {"a": 80}
    assert fill(QueueLimits(100, 0), ["a", "b"]) == {"a": 45, "b": 44}


def test_the_limit_of_tokens_is_shared_alike() -> None:
    size = request(0).size
    assert fill(QueueLimits(10**6, 100 * size), ["a"]) == {"a": 80}


def test_a_prompt_longer_than_the_limit_may_wait_alone() -> None:
    assert fill(QueueLimits(10, 20), ["a"], tokens=1000) == {"a": 1}


def test_the_bytes_of_sound_are_not_counted_as_text() -> None:
    assert 1_000 < counted(Transcribe(bytes(1_000_000))) < 10_000
    assert request(0, tokens=100).size >= 100


def test_a_question_counts_in_each_of_its_orders() -> None:
    def decision(orders: int, *questions: Question) -> int:
        return counted(Decide(Chat(({"role": "user", "content": "x" * 4000},)), questions, orders))

    options = tuple(Option(f"{letter} " * 500) for letter in "abc")
    choice = Question(QuestionKind.CHOICE, "which", options)
    predicate = Question(QuestionKind.PREDICATE, "y" * 2000)
    bare = decision(1)
    for question, most in ((choice, 3), (predicate, 2)):
        once = decision(1, question) - bare
        assert once >= 500
        found = [decision(orders, question) - bare for orders in (1, 2, 3, 255)]
        expected = [once * min(orders, most) for orders in (1, 2, 3, 255)]
        assert found == pytest.approx(expected, abs=4)  # each is rounded
    both = decision(3, choice, predicate) - bare
    assert both == pytest.approx(decision(3, choice) + decision(3, predicate) - 2 * bare, abs=4)


@given(st.integers(1, 300), st.integers(1, 8))
def test_whatever_floods_a_newcomer_may_wait(limit: int, floods: int) -> None:
    limits = QueueLimits(limit, 0)
    queue: WaitingQueue[Request] = WaitingQueue(TokenCounters())
    for number in range(3 * limit * floods):
        new = request(number, f"flood-{number % floods}")
        if limits.full(queue, new) is None:
            queue.push(new, 0.0)
    assert len(queue) <= limit
    if limit > 8 * floods:
        assert limits.full(queue, request(-1, "new")) is None
    assert limits.full(queue, request(-2, "flood-0")) in (Full.FOR_CLIENT, Full.FOR_ALL)


def test_those_that_wait_elsewhere_take_places() -> None:
    queue: WaitingQueue[Request] = WaitingQueue(TokenCounters())
    assert QueueLimits(4, 0).full(queue, request(0), elsewhere=4) is Full.FOR_ALL


def test_the_rate_is_that_of_those_who_waited() -> None:
    rate = ServiceRate()
    assert rate.seconds_for(10, 5.0) == SHORTEST  # nothing is known yet
    rate.backlog_begins(100.0)
    for second in range(1, 11):
        rate.started(100.0 + 2 * second)
    assert rate.seconds_for(10, 120.0) == 20
    assert rate.seconds_for(10, 140.0) == 40  # and nobody has started since
    rate.backlog_begins(500.0)
    rate.started(500.5)
    assert rate.seconds_for(4, 500.5) == 2


@pytest.mark.parametrize("requests", [0, 1, 10**9])
def test_nobody_is_told_to_come_at_once_or_never(requests: int) -> None:
    rate = ServiceRate()
    rate.backlog_begins(0.0)
    rate.started(1.0)
    assert SHORTEST <= rate.seconds_for(requests, 2.0) <= LONGEST
