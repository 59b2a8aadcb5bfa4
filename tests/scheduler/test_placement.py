"""Which worker a request is given to."""

from __future__ import annotations

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.affinity import Affinity
from cupola.scheduler.core import Scheduler
from cupola.scheduler.policy import SchedulerPolicy
from cupola.scheduler.protocol.messages import (
    FinishReason,
    LocalModel,
    Output,
    Outputs,
    Ready,
    Submit,
    Text,
    Usage,
    Work,
    encode_work,
)

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
