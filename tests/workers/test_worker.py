"""The worker's decisions, with the echo backend in place of a model."""

from __future__ import annotations

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    Abort,
    Chat,
    Decode,
    Done,
    Embed,
    Encode,
    ErrorCode,
    FinishReason,
    Goodbye,
    Heartbeat,
    LoadModel,
    LocalModel,
    Output,
    Outputs,
    Ready,
    Rejected,
    Rejoin,
    SamplingParams,
    Submit,
    Text,
    UnloadModel,
    Work,
    encode_work,
)
from cupola.workers.echo import FATAL, FORBIDDEN, EchoBackend
from cupola.workers.residency import FOREVER, Residency
from cupola.workers.worker import Identity, Worker

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
OTHER = LocalModel("o:1", "/o", CPU)


class Bench:
    """A worker, and what it asked to be loaded."""

    def __init__(self) -> None:
        self.loading: list[LocalModel] = []
        self.residency = Residency(default_ttl=600)
        self.worker = Worker(Identity("cpu:0/0", CPU, 1, 4), self.residency, self.loading.append)

    def load(self, model: LocalModel = MODEL, now: float = 0):
        if model.id not in self.residency.models:
            self.worker.receive(LoadModel("l", model), now)
        first, *answers = self.worker.loaded(model.id, EchoBackend(), now)
        assert model.id in first.resident
        return answers

    def generate(self, request_id: str, text: str = "one two", now: float = 0, **options):
        ttl = options.pop("ttl", None)
        work = Work(Text(text), SamplingParams(**options))
        return self.worker.receive(Submit(request_id, MODEL, encode_work(work), ttl), now)

    def finish(self, now: float = 0) -> dict[str, str]:
        """Step until nothing is left; the answers."""
        texts: dict[str, str] = {}
        while self.worker.busy:
            for message in self.worker.step(now):
                assert isinstance(message, Outputs)
                for output in message.outputs:
                    texts[output.request_id] = texts.get(output.request_id, "") + output.text
        return texts


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_requests_wait_for_the_load_they_cause(bench):
    assert bench.generate("r1") == []
    assert bench.generate("r2", "three") == []
    assert bench.loading == [MODEL]
    assert bench.load() == []
    assert bench.finish() == {"r1": "one two ", "r2": "three "}


def test_all_that_a_step_makes_is_one_message(bench):
    bench.load()
    bench.generate("r1")
    bench.generate("r2")
    (message,) = bench.worker.step(0)
    assert [output.request_id for output in message.outputs] == ["r1", "r2"]


def test_a_failed_load_rejects_everyone_who_waited(bench):
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    beat, *rejected = bench.worker.loaded(MODEL.id, ValueError("model.onnx is cut off"), 0)
    assert beat == Heartbeat()
    assert [message.request_id for message in rejected] == ["r1", "u1"]
    assert rejected[0].code is ErrorCode.MODEL_LOAD_FAILED
    assert "model.onnx is cut off" in rejected[0].message
    assert not bench.residency.models
    bench.generate("r2")
    assert bench.loading == [MODEL, MODEL]


def test_a_load_is_done_when_the_model_is_there(bench):
    assert bench.worker.receive(LoadModel("l1", MODEL), 0) == []
    assert bench.load() == [Done("l1")]
    assert bench.worker.receive(LoadModel("l2", MODEL), 0) == [Done("l2")]


def test_a_refused_request_does_not_disturb_the_others(bench):
    bench.load()
    bench.generate("r1")
    (rejected,) = bench.generate("r2", FORBIDDEN)
    assert rejected.code is ErrorCode.INVALID_REQUEST
    assert bench.finish() == {"r1": "one two "}


def test_a_request_that_fails_in_a_step_ends_alone(bench):
    class Failing(EchoBackend):
        def step(self) -> list[Output | Rejected]:
            self.abort("r1")
            return [Rejected("r1", ErrorCode.INVALID_REQUEST, "cannot go on"), *super().step()]

    bench.worker.receive(LoadModel("l", MODEL), 0)
    bench.worker.loaded(MODEL.id, Failing(), 0)
    bench.generate("r1")
    bench.generate("r2")
    outputs, rejected = bench.worker.step(0)
    assert [output.request_id for output in outputs.outputs] == ["r2"]
    assert rejected.request_id == "r1"
    assert bench.residency.models[MODEL.id].running == {"r2"}


def convert(bench: Bench, task: Encode | Decode):
    return bench.worker.receive(Submit("c", MODEL, encode_work(task)), 0)


def test_text_is_converted_without_a_step(bench):
    bench.load()
    (outputs,) = convert(bench, Encode(Text("ab")))
    assert outputs.outputs[0].tokens == (97, 98)
    (outputs,) = convert(bench, Decode((97, 98)))
    assert outputs.outputs[0].text == "ab"
    assert outputs.outputs[0].last
    assert not bench.worker.busy


def test_a_conversion_waits_for_the_load_it_causes(bench):
    assert convert(bench, Encode(Text("a"))) == []
    (outputs,) = bench.load()
    assert outputs.outputs[0].tokens == (97,)
    assert not bench.residency.models[MODEL.id].running


def test_a_conversion_that_fails_is_rejected(bench):
    bench.load()
    (rejected,) = convert(bench, Decode((1000,)))
    assert rejected.code is ErrorCode.INTERNAL


def test_embeddings_are_refused_by_what_makes_none(bench):
    bench.load()
    (rejected,) = bench.worker.receive(Submit("e", MODEL, encode_work(Embed(()))), 0)
    assert rejected.code is ErrorCode.INVALID_REQUEST


def test_work_that_does_not_decode_is_rejected(bench):
    bench.load()
    broken = Submit("r1", MODEL, encode_work(Work(Chat(()))))
    (rejected,) = bench.worker.receive(broken, 0)
    assert rejected.code is ErrorCode.INTERNAL


def test_a_failing_step_costs_that_engine_only(bench):
    bench.load(MODEL)
    bench.load(OTHER)
    work = encode_work(Work(Text("fine")))
    bench.generate("r1", FATAL)
    bench.worker.receive(Submit("r2", OTHER, work), 0)
    outputs, beat, rejected = bench.worker.step(0)
    assert [output.request_id for output in outputs.outputs] == ["r2"]
    assert (rejected.request_id, rejected.code) == ("r1", ErrorCode.INTERNAL)
    assert set(bench.residency.models) == {OTHER.id} == set(beat.resident)


def test_an_aborted_request_says_nothing_more(bench):
    bench.load()
    bench.generate("r1")
    bench.worker.receive(Abort("r1"), 0)
    assert not bench.worker.busy
    assert bench.worker.step(0) == []


def test_a_request_aborted_while_the_model_loads_does_not_run(bench):
    bench.generate("r1")
    bench.worker.receive(Abort("r1"), 0)
    bench.load()
    assert not bench.worker.busy


def test_an_idle_model_leaves_after_its_time(bench):
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


def test_a_request_can_set_the_time_to_live(bench):
    bench.load()
    bench.generate("r1", ttl=5)
    bench.finish(now=10)
    assert bench.worker.next_deadline() == 15
    bench.generate("r2", ttl=FOREVER)
    bench.finish(now=20)
    assert bench.worker.next_deadline() is None


def left(bench: Bench, now: float) -> float | None:
    return bench.worker.heartbeat(now).serving[MODEL.id].expires_in


def test_a_heartbeat_says_how_long_a_model_stays(bench):
    bench.load(now=0)
    assert left(bench, 100) == 500
    bench.generate("r1", now=100, ttl=50)
    assert left(bench, 400) == 50  # it is in use
    bench.finish(now=500)
    assert left(bench, 510) == 40
    bench.generate("r2", now=510, ttl=FOREVER)
    assert left(bench, 510) is None


def test_who_waited_for_a_load_is_told_how_long(bench):
    bench.generate("r1", "a", now=1)
    bench.generate("r2", "b", now=3)
    bench.worker.loaded(MODEL.id, EchoBackend(), now=5)
    bench.generate("r3", "c", now=6)
    waits = {}
    while bench.worker.busy:
        (message,) = bench.worker.step(7)
        waits |= {o.request_id: o.usage.load_seconds for o in message.outputs if o.usage}
    assert waits == {"r1": 4, "r2": 2, "r3": 0}


def test_unload_waits_for_running_requests_and_is_confirmed(bench):
    bench.load()
    bench.generate("r1")
    assert bench.worker.receive(UnloadModel("u1", MODEL.id), 0) == []
    assert bench.worker.expire(0) == []
    assert bench.finish() == {"r1": "one two "}
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]
    assert bench.worker.receive(UnloadModel("u2", MODEL.id), 0) == [Done("u2")]


def test_rejoin_drops_what_nobody_waits_for(bench):
    bench.load()
    bench.generate("r1")
    (ready,) = bench.worker.receive(Rejoin(), 0)
    assert isinstance(ready, Ready)
    assert ready.resident == (MODEL.id,)
    assert not bench.worker.busy


def test_goodbye_ends_what_runs_and_what_waits(bench):
    bench.load()
    bench.generate("r1")
    bench.worker.receive(Submit("r2", OTHER, encode_work(Work(Text("x")))), 0)
    *rejected, last = bench.worker.goodbye()
    assert {message.request_id for message in rejected} == {"r1", "r2"}
    assert all(message.code is ErrorCode.SHUTTING_DOWN for message in rejected)
    assert last == Goodbye()


def test_the_echo_ends_at_max_tokens_and_at_stop_strings(bench):
    bench.load()
    bench.generate("r1", "a b", max_tokens=5)
    bench.generate("r2", "a b c", stop=("b",))
    ends = {}
    while bench.worker.busy:
        (message,) = bench.worker.step(0)
        ends |= {o.request_id: o for o in message.outputs if o.finish_reason}
    assert ends["r1"].finish_reason is FinishReason.LENGTH
    assert ends["r1"].usage.completion_tokens == 5
    assert ends["r2"].finish_reason is FinishReason.STOP


def test_who_comes_while_a_model_is_leaving_gets_it_loaded_again(bench):
    bench.load()
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    assert bench.generate("r2", "later") == []
    assert bench.finish() == {"r1": "one two "}
    assert bench.worker.expire(0) == [Heartbeat(loading=(MODEL.id,)), Done("u1")]
    assert bench.loading == [MODEL, MODEL]
    bench.load()
    assert bench.finish() == {"r2": "later "}


def test_who_comes_while_a_model_is_leaving_may_go_again(bench):
    bench.load()
    bench.generate("r1")
    bench.worker.receive(UnloadModel("u1", MODEL.id), 0)
    bench.generate("r2")
    bench.worker.receive(Abort("r2"), 0)
    bench.finish()
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]
    assert bench.loading == [MODEL]


def test_a_time_that_was_asked_for_wins_over_an_unload_without_force(bench):
    bench.worker.receive(LoadModel("l1", MODEL, 600), 0)
    bench.load()
    assert bench.worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == [Done("u1")]
    assert bench.worker.expire(0) == []
    assert bench.worker.receive(UnloadModel("u2", MODEL.id, force=True), 0) == []
    assert bench.worker.expire(0) == [Heartbeat(), Done("u2")]


@pytest.mark.parametrize("ttl", [None, FOREVER])
def test_without_a_time_an_unload_needs_no_force(bench, ttl):
    bench.worker.receive(LoadModel("l1", MODEL, ttl), 0)
    bench.load()
    assert bench.worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == []
    assert bench.worker.expire(0) == [Heartbeat(), Done("u1")]


def test_a_pinned_model_leaves_by_force_only():
    residency = Residency(default_ttl=1, pinned=[MODEL.id])
    loading: list[LocalModel] = []
    worker = Worker(Identity("cpu:0/0", CPU, 1, 4), residency, loading.append)
    worker.preload(MODEL, 0)
    worker.loaded(MODEL.id, EchoBackend(), 0)
    assert worker.next_deadline() is None
    assert worker.expire(1e9) == []
    assert worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == [Done("u1")]
    worker.receive(UnloadModel("u2", MODEL.id), 0)
    assert worker.expire(0) == [Heartbeat(), Done("u2")]


def test_a_model_is_preloaded_once(bench):
    bench.worker.preload(MODEL, 0)
    bench.worker.preload(MODEL, 0)
    bench.generate("r1")
    assert bench.loading == [MODEL]
    bench.load()
    assert bench.finish() == {"r1": "one two "}
