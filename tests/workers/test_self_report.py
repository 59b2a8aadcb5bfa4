"""What a worker tells of itself."""

from __future__ import annotations

import pytest

from cupola.scheduler.protocol.messages import (
    Heartbeat,
    Postponed,
    Rejoin,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.tasks import Text, Work
from cupola.workers.echo import EchoBackend
from cupola.workers.residency import FOREVER
from tests.workers.worker_bench import MODEL, OTHER, Bench, Recording


@pytest.fixture
def bench() -> Bench:
    return Bench()


def expires_in(bench: Bench, now: float) -> float | None:
    return bench.worker.report.heartbeat(now).serving[MODEL.id].expires_in


def test_a_heartbeat_says_how_long_a_model_stays(bench: Bench) -> None:
    bench.load(now=0)
    assert expires_in(bench, 100) == 500
    bench.generate("r1", now=100, ttl=50)
    assert expires_in(bench, 400) == 50  # it is in use
    bench.finish(now=500)
    assert expires_in(bench, 510) == 40
    bench.generate("r2", now=510, ttl=FOREVER)
    assert expires_in(bench, 510) is None


def test_the_scheduler_is_told_which_requests_wait_for_their_grammars(bench: Bench) -> None:
    one, two = Recording(), Recording()
    bench.load(backend=one)
    bench.load(OTHER, backend=two)
    assert bench.worker.report.postponed() == []
    one.postponed, two.postponed = frozenset({"b"}), frozenset({"a"})
    assert bench.worker.report.postponed() == [Postponed(("a", "b"))]
    assert bench.worker.report.postponed() == []
    one.postponed = frozenset()
    assert bench.worker.report.postponed() == [Postponed(("a",))]
    two.postponed = frozenset()
    assert bench.worker.report.postponed() == [Postponed()]


def test_a_new_scheduler_is_told_anew(bench: Bench) -> None:
    backend = Recording()
    bench.load(backend=backend)
    backend.postponed = frozenset({"a"})
    assert bench.worker.report.postponed() == [Postponed(("a",))]
    bench.worker.receive(Rejoin(), 0)
    assert bench.worker.report.postponed() == [Postponed(("a",))]


def test_the_scheduler_learns_how_many_requests_a_worker_takes() -> None:
    """As many as one of its models runs; before one is loaded, and for others, a fixed number."""
    bench = Bench()
    backend = Recording()
    bench.load(MODEL, backend=backend)
    first = bench.worker.report.ready(0).slots
    assert not bench.worker.report.resized(0)
    backend.capacity = first + 9
    (told,) = bench.worker.report.resized(0)
    assert isinstance(told, Heartbeat)
    assert told.slots == first + 9
    assert not bench.worker.report.resized(0)
    assert bench.worker.report.heartbeat(0).slots == 0
    assert bench.worker.report.ready(0).slots == first + 9


def test_heartbeats_tell_once_what_was_read_and_that_it_is_gone(bench: Bench) -> None:
    message = Submit("r1", MODEL, encode_work(Work(Text("x"))), beginnings=(b"one", b"two"))
    bench.worker.receive(message, 0)
    assert bench.worker.report.heartbeat(0).beginnings is None, "it waits for its model"
    heartbeat, *_ = bench.worker.loaded(MODEL.id, EchoBackend(), 0)
    assert isinstance(heartbeat, Heartbeat)
    assert heartbeat.beginnings == (b"one", b"two")
    assert bench.worker.report.heartbeat(0).beginnings is None
    bench.worker.receive(Rejoin(), 0)
    assert bench.worker.report.heartbeat(0).beginnings == (b"one", b"two"), "a new scheduler asks"
    bench.worker.receive(UnloadModel("u", MODEL.id), 0)
    heartbeat, *_ = bench.worker.expire(0)
    assert isinstance(heartbeat, Heartbeat)
    assert heartbeat.beginnings == ()
