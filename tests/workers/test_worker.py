"""What a worker does with requests, with the echo backend in place of a model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    FromWorker,
    Goodbye,
    Ready,
    Rejected,
    Rejoin,
    Submit,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.protocol.tasks import Chat, Decode, Embed, Encode, LocalModel, Text, Work
from cupola.workers.echo import FORBIDDEN, EchoBackend
from tests.workers.worker_bench import CPU, MODEL, OTHER, Bench, Recording, output_of, rejection_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


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


def test_the_usage_says_how_long_a_request_waited_for_a_load(bench: Bench) -> None:
    bench.generate("r1", "a", now=1)
    bench.generate("r2", "b", now=3)
    bench.worker.loaded(MODEL.id, EchoBackend(), now=5)
    bench.generate("r3", "c", now=6)
    waits: dict[str, float] = {}
    while bench.worker.busy:
        waits |= {o.request_id: o.usage.load_seconds for o in bench.step(7) if o.usage}
    assert waits == {"r1": 4, "r2": 2, "r3": 0}


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
