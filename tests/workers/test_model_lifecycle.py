"""How a worker's models come and go, with the echo backend in place of a model."""

from __future__ import annotations

import pytest

from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Heartbeat,
    LoadModel,
    Rejected,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.workers.echo import FATAL, EchoBackend
from cupola.workers.residency import FOREVER, RESTS, Residency
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker
from tests.workers.worker_bench import CPU, MODEL, OTHER, Bench, Recording, output_of, rejection_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_failed_load_rejects_everyone_who_waited(bench: Bench) -> None:
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    heartbeat, *rejected = bench.worker.loaded(MODEL.id, ValueError("model.onnx is cut off"), 0)
    assert heartbeat == Heartbeat()
    for message, request_id in zip(rejected, ("r1", "u1"), strict=True):
        assert isinstance(message, Rejected)
        assert message.request_id == request_id
        assert message.code is ErrorCode.MODEL_LOAD_FAILED
        assert "model.onnx is cut off" in message.message
    assert not bench.residency.models
    bench.generate("r2")
    assert bench.loading == [MODEL, MODEL]


def test_a_load_is_done_when_the_model_is_there(bench: Bench) -> None:
    assert bench.worker.receive(LoadModel("l1", MODEL), 0) == []
    assert bench.load() == [Done("l1")]
    assert bench.worker.receive(LoadModel("l2", MODEL), 0) == [Done("l2")]


def test_a_failing_step_costs_that_engine_only(bench: Bench) -> None:
    bench.load(MODEL)
    bench.load(OTHER)
    work = encode_work(Work(Text("fine")))
    bench.generate("r1", FATAL)
    bench.worker.receive(Submit("r2", OTHER, work), 0)
    outputs, heartbeat, answer = bench.worker.step(0)
    assert output_of([outputs]).request_id == "r2"
    rejected = rejection_of([answer])
    assert (rejected.request_id, rejected.code) == ("r1", ErrorCode.INTERNAL)
    assert isinstance(heartbeat, Heartbeat)
    assert set(bench.residency.models) == {OTHER.id} == set(heartbeat.resident)


def test_an_idle_model_is_unloaded_after_its_time(bench: Bench) -> None:
    bench.load(now=0)
    bench.generate("r1", now=100)
    assert bench.worker.next_deadline() is None
    assert bench.worker.expire(10_000) == []
    bench.finish(now=200)
    assert bench.worker.next_deadline() == 800
    bench.worker.expire(799)
    assert MODEL.id in bench.residency.models
    bench.worker.expire(800)
    assert MODEL.id not in bench.residency.models


def test_a_request_can_set_the_time_to_live(bench: Bench) -> None:
    bench.load()
    bench.generate("r1", ttl=5)
    bench.finish(now=10)
    assert bench.worker.next_deadline() == 15
    bench.generate("r2", ttl=FOREVER)
    bench.finish(now=20)
    assert bench.worker.next_deadline() is None


def test_unload_waits_for_running_requests_and_is_confirmed(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    assert bench.worker.receive(UnloadModel("u1", MODEL.id), 0) == []
    assert bench.worker.expire(0) == []
    assert bench.finish() == {"r1": "one two "}
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]
    assert bench.worker.receive(UnloadModel("u2", MODEL.id), 0) == [Done("u2")]


def test_a_model_whose_files_have_gone_leaves_when_it_is_idle(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.worker.lifecycle.outdate([MODEL.id, OTHER.id])
    assert bench.worker.expire(0) == []
    bench.generate("r2")  # is for the files that are there by then
    assert bench.finish() == {"r1": "one two "}
    assert bench.worker.expire(0) == [Heartbeat(loading=(MODEL.id,))]
    bench.load()
    assert bench.finish() == {"r2": "one two "}
    assert bench.worker.expire(0) == []


def test_a_pinned_model_whose_files_have_gone_leaves_as_well() -> None:
    bench = Bench()
    bench.residency.pinned = frozenset({MODEL.id})
    bench.load()
    bench.worker.lifecycle.outdate([MODEL.id])
    assert bench.worker.expire(0) == [Heartbeat()]


def test_a_request_during_an_unload_gets_the_model_loaded_again(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    assert bench.generate("r2", "later") == []
    assert bench.finish() == {"r1": "one two "}
    assert bench.worker.expire(0) == [Heartbeat(loading=(MODEL.id,)), Done("u1")]
    assert bench.loading == [MODEL, MODEL]
    bench.load()
    assert bench.finish() == {"r2": "later "}


def test_a_request_during_an_unload_can_be_aborted(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    bench.generate("r2")
    bench.worker.receive(Abort("r2"), 0)
    bench.finish()
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]
    assert bench.loading == [MODEL]


def test_a_time_to_live_that_was_set_wins_over_an_unload_without_force(bench: Bench) -> None:
    bench.worker.receive(LoadModel("l1", MODEL, 600), 0)
    bench.load()
    assert bench.worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == [Done("u1")]
    assert bench.worker.expire(0) == []
    assert bench.worker.receive(UnloadModel("u2", MODEL.id, force=True), 0) == []
    assert bench.worker.expire(0) == [Heartbeat(), Done("u2")]


@pytest.mark.parametrize("ttl", [None, FOREVER])
def test_without_a_time_an_unload_needs_no_force(bench: Bench, ttl: float | None) -> None:
    bench.worker.receive(LoadModel("l1", MODEL, ttl), 0)
    bench.load()
    assert bench.worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == []
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]


def test_a_pinned_model_is_unloaded_by_force_only() -> None:
    residency = Residency(default_ttl=1, pinned=[MODEL.id])
    loading: list[LocalModel] = []
    worker = Worker(Identity("cpu:0/0", CPU, 1, 4), residency, loading.append)
    worker.lifecycle.preload(MODEL, 0)
    worker.loaded(MODEL.id, EchoBackend(), 0)
    assert worker.next_deadline() is None
    assert worker.expire(1e9) == []
    assert worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == [Done("u1")]
    worker.receive(UnloadModel("u2", MODEL.id), 0)
    assert worker.expire(0) == [Heartbeat(), Done("u2")]


def test_a_model_is_preloaded_once(bench: Bench) -> None:
    bench.worker.lifecycle.preload(MODEL, 0)
    bench.worker.lifecycle.preload(MODEL, 0)
    bench.generate("r1")
    assert bench.loading == [MODEL]
    bench.load()
    assert bench.finish() == {"r1": "one two "}


def test_a_model_that_nobody_uses_gives_memory_back_in_two_steps(bench: Bench) -> None:
    backend = Recording()
    bench.load(backend=backend)
    first, second = RESTS
    rests: list[tuple[float, bool]] = []
    for now in (0.0, first - 1, first, first + 1, second - 1, second, 10 * second):
        rested = bench.worker.lifecycle.rest(now)
        assert rested == (len(backend.rests) > len(rests))
        rests += [(now, long) for long in backend.rests[len(rests) :]]
    assert rests == [(first, False), (second, True)]


def test_a_model_in_use_does_not_rest_and_a_use_begins_anew(bench: Bench) -> None:
    backend = Recording()
    bench.load(backend=backend)
    first, second = RESTS
    assert bench.worker.lifecycle.rest(second)
    bench.generate("r1", now=1000)
    assert not bench.worker.lifecycle.rest(1000 + second)
    bench.finish(now=2000)
    assert not bench.worker.lifecycle.rest(2000 + first - 1)
    assert bench.worker.lifecycle.rest(2000 + first)
    assert backend.rests == [False, False]


def test_a_model_that_is_being_loaded_does_not_rest(bench: Bench) -> None:
    bench.generate("r1")
    assert not bench.worker.lifecycle.rest(1e9)


def test_a_model_is_closed_when_it_is_unloaded_and_when_the_process_stops() -> None:
    bench = Bench()
    unloaded, left = Recording(), Recording()
    bench.load(MODEL, backend=unloaded)
    bench.load(OTHER, backend=left)
    bench.worker.receive(UnloadModel("u", MODEL.id), 0)
    bench.worker.expire(0)
    assert (unloaded.closed, left.closed) == (True, False)
    bench.worker.close()
    assert left.closed
