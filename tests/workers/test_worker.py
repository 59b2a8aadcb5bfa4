"""The worker's decisions, with the echo backend in place of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    ANY_TURN,
    Abort,
    Done,
    ErrorCode,
    FromWorker,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outputs,
    Postponed,
    Ready,
    Rejected,
    Rejoin,
    Submit,
    Turn,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Decode,
    Embed,
    Encode,
    LocalModel,
    SamplingParams,
    Text,
    Transcribe,
    Work,
)
from cupola.workers.echo import FATAL, FORBIDDEN, EchoBackend
from cupola.workers.model.backend import Backend
from cupola.workers.residency import FOREVER, RESTS, Residency
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
OTHER = LocalModel("o:1", "/o", CPU)


class Recording(Backend):
    """The echo backend, which keeps what it was given."""

    serving = EchoBackend.serving
    shared_bytes = 0
    capacity: int = 0
    postponed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.closed = False
        self.pieces = 0  # of work for times without requests
        self.rests: list[bool] = []  # whether each was a long one
        self.works: list[Work | Embed | Decide | Transcribe] = []
        self._echo = EchoBackend()
        self.waits = False  # for a thread of its own: there is nothing to step

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        self.works.append(work)
        self._echo.add(request_id, work)

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        return self._echo.convert(request_id, task)

    def abort(self, request_id: str) -> None:
        self._echo.abort(request_id)

    def step(self) -> Sequence[Output | Rejected]:
        return self._echo.step()

    def close(self) -> None:
        self.closed = True

    def warm_up(self) -> bool:
        self.pieces -= 1
        return self.pieces >= 0

    def rest(self, long: bool) -> None:
        self.rests.append(long)

    @property
    def busy(self) -> bool:
        return self._echo.busy and not self.waits


class Bench:
    """A worker, and the models whose load it has started."""

    def __init__(self) -> None:
        self.loading: list[LocalModel] = []
        self.residency = Residency(default_ttl=600)
        self.worker = Worker(Identity("cpu:0/0", CPU, 1, 4), self.residency, self.loading.append)

    def load(
        self, model: LocalModel = MODEL, now: float = 0, backend: Backend | None = None
    ) -> list[FromWorker]:
        if model.id not in self.residency.models:
            self.worker.receive(LoadModel("l", model), now)
        first, *answers = self.worker.loaded(model.id, backend or EchoBackend(), now)
        assert isinstance(first, Heartbeat)
        assert model.id in first.resident
        return answers

    def generate(
        self,
        request_id: str,
        text: str = "one two",
        now: float = 0,
        ttl: float | None = None,
        **sampling: Any,
    ) -> list[FromWorker]:
        work = encode_work(Work(Text(text), SamplingParams(**sampling)))
        return self.worker.receive(Submit(request_id, MODEL, work, ttl), now)

    def step(self, now: float = 0) -> list[Output]:
        """The outputs of a step, which must be all that it makes."""
        (message,) = self.worker.step(now)
        assert isinstance(message, Outputs)
        return list(message.outputs)

    def finish(self, now: float = 0) -> dict[str, str]:
        """Step until nothing is left; the answers."""
        texts: dict[str, str] = {}
        while self.worker.busy:
            for output in self.step(now):
                texts[output.request_id] = texts.get(output.request_id, "") + output.text
        return texts


@pytest.fixture
def bench() -> Bench:
    return Bench()


def output_of(messages: list[FromWorker]) -> Output:
    """The only output in the only message."""
    (message,) = messages
    assert isinstance(message, Outputs)
    (output,) = message.outputs
    return output


def rejection_of(messages: list[FromWorker]) -> Rejected:
    """The only message, a Rejected."""
    (message,) = messages
    assert isinstance(message, Rejected)
    return message


def test_requests_wait_for_the_load_they_cause(bench: Bench) -> None:
    assert bench.generate("r1") == []
    assert bench.generate("r2", "three") == []
    assert bench.loading == [MODEL]
    assert bench.load() == []
    assert bench.finish() == {"r1": "one two ", "r2": "three "}


def test_all_that_a_step_makes_is_one_message(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.generate("r2")
    assert [output.request_id for output in bench.step()] == ["r1", "r2"]


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


def test_a_refused_request_does_not_disturb_the_others(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    assert rejection_of(bench.generate("r2", FORBIDDEN)).code is ErrorCode.INVALID_REQUEST
    assert bench.finish() == {"r1": "one two "}


def test_a_request_that_fails_in_a_step_ends_alone(bench: Bench) -> None:
    class Failing(Recording):
        def step(self) -> Sequence[Output | Rejected]:
            self.abort("r1")
            return [Rejected("r1", ErrorCode.INVALID_REQUEST, "cannot go on"), *super().step()]

    bench.load(backend=Failing())
    bench.generate("r1")
    bench.generate("r2")
    outputs, rejected = bench.worker.step(0)
    assert output_of([outputs]).request_id == "r2"
    assert rejection_of([rejected]).request_id == "r1"
    assert bench.residency.models[MODEL.id].running == {"r2"}


def salt(bench: Bench, tenant: str, own: str) -> str:
    """The salt that the engine gets for a request of ``tenant`` with the salt ``own``."""
    backend = Recording()
    bench.load(LocalModel("salted:1", "/s", CPU), backend=backend)
    work = encode_work(Work(Text("a"), cache_salt=own))
    bench.worker.receive(Submit("s", LocalModel("salted:1", "/s", CPU), work, tenant=tenant), 0)
    bench.finish()
    (received,) = backend.works
    assert isinstance(received, Work)
    assert received.prompt == Text("a")
    return received.cache_salt


def test_tenants_and_salts_share_no_cached_prefixes() -> None:
    """The engine compares salts only; that it does is tested with the engine."""
    salts = {salt(Bench(), tenant, own) for tenant in ("one", "two") for own in ("", "a", "b")}
    assert len(salts) == 6
    assert "" not in salts
    assert salt(Bench(), "one", "a") == salt(Bench(), "one", "a")


@pytest.mark.parametrize("own", ["", "a"])
def test_without_tenants_the_clients_salt_is_all(own: str) -> None:
    assert salt(Bench(), "", own) == own


def convert(bench: Bench, task: Encode | Decode) -> list[FromWorker]:
    return bench.worker.receive(Submit("c", MODEL, encode_work(task)), 0)


def test_text_is_converted_without_a_step(bench: Bench) -> None:
    bench.load()
    assert output_of(convert(bench, Encode(Text("ab")))).tokens == (97, 98)
    decoded = output_of(convert(bench, Decode((97, 98))))
    assert decoded.text == "ab"
    assert decoded.last
    assert not bench.worker.busy


def test_a_conversion_waits_for_the_load_it_causes(bench: Bench) -> None:
    assert convert(bench, Encode(Text("a"))) == []
    assert output_of(bench.load()).tokens == (97,)
    assert not bench.residency.models[MODEL.id].running


def test_a_conversion_that_fails_is_rejected(bench: Bench) -> None:
    bench.load()
    assert rejection_of(convert(bench, Decode((1000,)))).code is ErrorCode.INTERNAL


def test_embeddings_are_refused_by_what_makes_none(bench: Bench) -> None:
    bench.load()
    answers = bench.worker.receive(Submit("e", MODEL, encode_work(Embed(()))), 0)
    assert rejection_of(answers).code is ErrorCode.INVALID_REQUEST


def test_work_that_does_not_decode_is_rejected(bench: Bench) -> None:
    bench.load()
    broken = Submit("r1", MODEL, encode_work(Work(Chat(()))))
    assert rejection_of(bench.worker.receive(broken, 0)).code is ErrorCode.INTERNAL


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


def test_an_aborted_request_says_nothing_more(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.worker.receive(Abort("r1"), 0)
    assert not bench.worker.busy
    assert bench.worker.step(0) == []


def test_a_request_aborted_while_the_model_loads_does_not_run(bench: Bench) -> None:
    bench.generate("r1")
    bench.worker.receive(Abort("r1"), 0)
    bench.load()
    assert not bench.worker.busy


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


def test_the_usage_says_how_long_a_request_waited_for_a_load(bench: Bench) -> None:
    bench.generate("r1", "a", now=1)
    bench.generate("r2", "b", now=3)
    bench.worker.loaded(MODEL.id, EchoBackend(), now=5)
    bench.generate("r3", "c", now=6)
    waits: dict[str, float] = {}
    while bench.worker.busy:
        waits |= {o.request_id: o.usage.load_seconds for o in bench.step(7) if o.usage}
    assert waits == {"r1": 4, "r2": 2, "r3": 0}


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
    bench.worker.outdate([MODEL.id, OTHER.id])
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
    bench.worker.outdate([MODEL.id])
    assert bench.worker.expire(0) == [Heartbeat()]


def test_rejoin_drops_what_nobody_waits_for(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    (ready,) = bench.worker.receive(Rejoin(), 0)
    assert isinstance(ready, Ready)
    assert ready.resident == (MODEL.id,)
    assert not bench.worker.busy


def test_goodbye_ends_what_runs_and_what_waits(bench: Bench) -> None:
    bench.load()
    bench.generate("r1")
    bench.worker.receive(Submit("r2", OTHER, encode_work(Work(Text("x")))), 0)
    *rejected, last = bench.worker.goodbye()
    ends = [rejection_of([message]) for message in rejected]
    assert {end.request_id for end in ends} == {"r1", "r2"}
    assert all(end.code is ErrorCode.SHUTTING_DOWN for end in ends)
    assert last == Goodbye()


def test_the_echo_ends_at_max_tokens_and_at_stop_strings(bench: Bench) -> None:
    bench.load()
    bench.generate("r1", "a b", max_tokens=5)
    bench.generate("r2", "a b c", stop=("b",))
    ends: dict[str, Output] = {}
    while bench.worker.busy:
        ends |= {output.request_id: output for output in bench.step() if output.finish_reason}
    assert ends["r1"].finish_reason is FinishReason.LENGTH
    assert ends["r1"].usage is not None
    assert ends["r1"].usage.completion_tokens == 5
    assert ends["r2"].finish_reason is FinishReason.STOP


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
    worker.preload(MODEL, 0)
    worker.loaded(MODEL.id, EchoBackend(), 0)
    assert worker.next_deadline() is None
    assert worker.expire(1e9) == []
    assert worker.receive(UnloadModel("u1", MODEL.id, force=False), 0) == [Done("u1")]
    worker.receive(UnloadModel("u2", MODEL.id), 0)
    assert worker.expire(0) == [Heartbeat(), Done("u2")]


def test_a_model_is_preloaded_once(bench: Bench) -> None:
    bench.worker.preload(MODEL, 0)
    bench.worker.preload(MODEL, 0)
    bench.generate("r1")
    assert bench.loading == [MODEL]
    bench.load()
    assert bench.finish() == {"r1": "one two "}


class LateConversion(Recording):
    """Converts at its next step, as backends do with large texts."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[str, Encode | Decode] = {}

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        self.late[request_id] = task
        return None

    def abort(self, request_id: str) -> None:
        self.late.pop(request_id, None)

    @property
    def busy(self) -> bool:
        return bool(self.late)

    def step(self) -> Sequence[Output | Rejected]:
        late, self.late = self.late, {}
        return [EchoBackend().convert(request_id, task) for request_id, task in late.items()]


def test_a_conversion_that_takes_long_is_answered_by_a_step(bench: Bench) -> None:
    bench.load(backend=LateConversion())
    submit = Submit("r", MODEL, encode_work(Encode(Text("ab"))))
    assert bench.worker.receive(submit, 0) == []
    assert not bench.worker.expire(10_000)  # the model is in use
    (output,) = bench.step()
    assert (output.request_id, output.tokens) == ("r", (97, 98))
    assert bench.worker.expire(20_000)


def test_a_conversion_that_takes_long_can_be_cancelled(bench: Bench) -> None:
    bench.load(backend=LateConversion())
    bench.worker.receive(Submit("r", MODEL, encode_work(Encode(Text("ab")))), 0)
    bench.worker.receive(Abort("r"), 0)
    assert not bench.worker.busy
    assert bench.worker.goodbye() == [Goodbye()]


def test_a_model_that_nobody_uses_gives_memory_back_in_two_steps(bench: Bench) -> None:
    backend = Recording()
    bench.load(backend=backend)
    first, second = RESTS
    rests: list[tuple[float, bool]] = []
    for now in (0.0, first - 1, first, first + 1, second - 1, second, 10 * second):
        rested = bench.worker.rest(now)
        assert rested == (len(backend.rests) > len(rests))
        rests += [(now, long) for long in backend.rests[len(rests) :]]
    assert rests == [(first, False), (second, True)]


def test_a_model_in_use_does_not_rest_and_a_use_begins_anew(bench: Bench) -> None:
    backend = Recording()
    bench.load(backend=backend)
    first, second = RESTS
    assert bench.worker.rest(second)
    bench.generate("r1", now=1000)
    assert not bench.worker.rest(1000 + second)
    bench.finish(now=2000)
    assert not bench.worker.rest(2000 + first - 1)
    assert bench.worker.rest(2000 + first)
    assert backend.rests == [False, False]


def test_a_model_that_is_being_loaded_does_not_rest(bench: Bench) -> None:
    bench.generate("r1")
    assert not bench.worker.rest(1e9)


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


def test_a_piece_of_work_is_done_while_there_are_no_requests() -> None:
    bench = Bench()
    backend = Recording()
    backend.pieces = 3
    bench.load(MODEL, backend=backend)
    assert bench.worker.warm_up()
    bench.generate("r")
    assert not bench.worker.warm_up()
    assert backend.pieces == 2
    while bench.worker.busy:
        bench.worker.step(0)
    assert [bench.worker.warm_up() for _ in range(3)] == [True, True, False]


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


def test_a_request_that_waits_for_a_thread_is_a_request_too() -> None:
    bench = Bench()
    backend = Recording()
    backend.pieces = 1
    bench.load(MODEL, backend=backend)
    bench.generate("r")
    backend.waits = True
    assert not bench.worker.busy
    assert not bench.worker.warm_up()
    assert backend.pieces == 1


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
