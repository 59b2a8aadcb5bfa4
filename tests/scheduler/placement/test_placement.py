"""Which worker a request is given to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.placement.affinity import Affinity
from cupola.scheduler.protocol.messages import (
    ErrorCode,
    Heartbeat,
    Outputs,
    Ready,
    Rejected,
    Submit,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy

CPU = ExecutionProvider.CPU
MODEL, OTHER = LocalModel("m:1", "/models/m", CPU), LocalModel("o:1", "/models/o", CPU)
WORK = encode_work(Work(Text("hi")))
NAMES = ("cpu:0/0", "cpu:0/1")


class Bench:
    """Two workers that hold the model, and who runs what."""

    def __init__(self, slots: int = 8) -> None:
        self.scheduler = Scheduler(SchedulerPolicy(dict.fromkeys(NAMES, CPU)), "epoch")
        self.place: dict[str, bytes] = {}
        for name in NAMES:
            self.scheduler.receive(name.encode(), Ready(name, CPU, 1, slots, (MODEL.id,)), 0)

    def send(self, request_id: str, *beginnings: bytes, model: LocalModel = MODEL) -> bytes:
        message = Submit(request_id, model, WORK, beginnings=beginnings)
        for peer, sent in self.scheduler.receive(b"g", message, 0):
            if isinstance(sent, Submit):
                self.place[sent.request_id] = peer
        return self.place[request_id]

    def end(self, request_id: str) -> None:
        last = Output(request_id, "x", FinishReason.STOP, Usage(1, 1))
        self.scheduler.receive(self.place[request_id], Outputs((last,)), 0)


def test_a_conversation_goes_on_where_it_began() -> None:
    bench = Bench()
    first = bench.send("a-1", b"system", b"one")
    other = bench.send("b-1", b"another")
    assert other != first
    assert bench.send("b-2", b"another", b"answer") == other
    bench.send("load", b"else")  # now the first worker is not the least loaded
    assert bench.send("a-2", b"system", b"one", b"two") == first


def test_the_longest_known_beginning_decides() -> None:
    bench = Bench()
    first = bench.send("a-1", b"system", b"one")
    bench.send("load")
    bench.send("load-2", b"system")
    second = bench.send("b-1", b"system", b"other")
    assert bench.send("a-2", b"system", b"one", b"two") == first
    assert bench.send("b-2", b"system", b"other", b"two") == second


def test_a_worker_that_is_much_busier_is_not_used_for_what_it_knows() -> None:
    bench = Bench(slots=30)
    placed = [bench.send(f"r{number}", b"system") for number in range(12)]
    assert set(placed) == {name.encode() for name in NAMES}
    assert placed.count(placed[0]) < 11


def test_a_worker_that_holds_the_model_comes_before_one_that_knows_the_prompt() -> None:
    bench = Bench()
    bench.send("o-1", b"x", model=OTHER)
    loads = bench.place["o-1"]
    bench.end("o-1")
    assert bench.send("o-2", b"y", model=OTHER) == loads


def test_what_a_lost_worker_knew_is_forgotten() -> None:
    affinity = Affinity()
    affinity.sent([b"a", b"b"], b"w")
    affinity.sent([b"c"], b"v")
    affinity.lost(b"w")
    assert affinity.known([b"a", b"b"]) == {}
    assert affinity.known([b"c"]) == {b"v": 1}


def test_only_so_many_beginnings_are_remembered_and_the_oldest_go_first() -> None:
    affinity = Affinity(most=3)
    affinity.sent([b"a", b"b"], b"w")
    affinity.sent([b"c"], b"v")
    affinity.sent([b"a"], b"w")
    affinity.sent([b"d"], b"v")
    assert len(affinity) == 3
    assert affinity.known([b"a"]) == {b"w": 1}
    assert affinity.known([b"b"]) == {}


def test_a_worker_with_models_of_its_own_gets_no_others() -> None:
    bench = Bench(slots=1)
    ready = Ready("cpu:0/2", CPU, 1, 8, (OTHER.id,), only=(OTHER.id,))
    bench.scheduler.receive(b"cpu:0/2", ready, 0)
    assert bench.send("one") != b"cpu:0/2"
    assert bench.send("two") != b"cpu:0/2"
    message = Submit("three", MODEL, WORK)
    assert bench.scheduler.receive(b"g", message, 0) == [], "it waits beside the free slots"
    # The same client's request for the other model need not wait behind it.
    assert bench.send("four", model=OTHER) == b"cpu:0/2"


def test_a_model_that_no_worker_may_run_is_refused() -> None:
    scheduler = Scheduler(SchedulerPolicy(dict.fromkeys(NAMES, CPU)), "epoch")
    ready = [Ready(name, CPU, 1, 8, only=(OTHER.id,)) for name in NAMES]
    scheduler.receive(b"a", ready[0], 0)
    assert scheduler.receive(b"g", Submit("one", MODEL, WORK), 0) == [], "the second may run it"
    scheduler.receive(b"b", ready[1], 0)
    (send,) = scheduler.receive(b"g", Submit("two", MODEL, WORK), 0)
    assert isinstance(send.message, Rejected)
    assert send.message.code is ErrorCode.NO_WORKER


def test_what_a_worker_tells_replaces_what_it_was_sent() -> None:
    affinity = Affinity()
    affinity.sent([b"one", b"two"], b"w")
    affinity.told([b"two", b"three"], b"w")
    assert affinity.known([b"one"]) == {}
    assert affinity.known([b"x", b"two", b"three"]) == {b"w": 3}
    affinity.sent([b"three"], b"other")
    affinity.told([b"two", b"three"], b"w")
    assert affinity.known([b"two", b"three"]) == {b"w": 1, b"other": 2}
    affinity.lost(b"w")
    assert affinity.known([b"two", b"three"]) == {b"other": 2}
    assert len(affinity) == 1


def test_a_new_scheduler_learns_what_workers_have_read() -> None:
    bench = Bench()
    names = [name.encode() for name in NAMES]
    bench.scheduler.receive(names[1], Heartbeat(0, (MODEL.id,), beginnings=(b"system", b"one")), 0)
    assert bench.send("a", b"system", b"one", b"two") == names[1]
    bench.scheduler.receive(names[1], Heartbeat(0, (MODEL.id,)), 0)
    assert bench.send("b", b"system", b"one", b"three") == names[1], "None changes nothing"
    bench.scheduler.receive(names[1], Heartbeat(0, (MODEL.id,), beginnings=()), 0)
    assert bench.send("c", b"system", b"one") == names[0], "it has forgotten them"


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["sent", "told", "lost"]),
            st.lists(st.binary(min_size=1, max_size=1), max_size=5),
            st.sampled_from([b"v", b"w"]),
        )
    )
)
def test_each_beginning_belongs_to_one_worker_and_there_are_not_too_many(
    steps: list[tuple[str, list[bytes], bytes]],
) -> None:
    affinity = Affinity(most=8)
    for verb, beginnings, worker in steps:
        if verb == "lost":
            affinity.lost(worker)
            assert worker not in affinity.known([bytes([n]) for n in range(256)])
        elif verb == "sent":
            affinity.sent(beginnings, worker)
            assert all(affinity.known([digest]) == {worker: 1} for digest in beginnings)
        else:
            affinity.told(beginnings, worker)
            mine = [n for n in range(256) if affinity.known([bytes([n])]) == {worker: 1}]
            assert {bytes([n]) for n in mine} <= set(beginnings)
        assert len(affinity) <= 8
