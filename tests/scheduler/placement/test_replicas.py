"""A model in demand is loaded on idle workers, and leaves them when the demand is long over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.placement.replicas import COOL_SECONDS, HOT_SECONDS, PAUSE_SECONDS
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    Heartbeat,
    LoadModel,
    Outputs,
    Query,
    Ready,
    Rejected,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/models/m", CPU)
WORK = encode_work(Work(Text("hi")))
SLOTS = 8


class Simulation:
    """Workers under a simulated clock. Loads and unloads are done at once, or fail."""

    def __init__(self, workers: int = 3, load_fails: bool = False) -> None:
        names = [f"w{number}" for number in range(workers)]
        self.scheduler = Scheduler(SchedulerPolicy(dict.fromkeys(names, CPU)), "epoch")
        self.load_fails = load_fails
        self.now = 0.0
        self.held: dict[bytes, set[str]] = {name.encode(): set() for name in names}
        self.place: dict[str, bytes] = {}
        self.changes: list[tuple[str, bytes]] = []
        self.held[b"w0"].add(MODEL.id)
        for peer, models in self.held.items():
            ready = Ready(peer.decode(), CPU, 1, SLOTS, tuple(models))
            self.feed(self.scheduler.receive(peer, ready, 0))

    def feed(self, sends: Sequence[Send]) -> None:
        for peer, message in sends:
            match message:
                case Submit(request_id):
                    self.place[request_id] = peer
                    self.held[peer].add(MODEL.id)
                case LoadModel(request_id):
                    self.changes.append(("load", peer))
                    self.answer(peer, request_id, not self.load_fails)
                case UnloadModel(request_id):
                    self.changes.append(("unload", peer))
                    self.held[peer].discard(MODEL.id)
                    self.answer(peer, request_id, True)

    def answer(self, peer: bytes, request_id: str, works: bool) -> None:
        failed = Rejected(request_id, ErrorCode.NO_MEMORY, "full")
        if works and self.changes[-1][0] == "load":
            self.held[peer].add(MODEL.id)
        self.feed(self.scheduler.receive(peer, Done(request_id) if works else failed, self.now))
        self.beat()

    def beat(self) -> None:
        self.scheduler.receive(b"g", Query(), self.now)
        for peer, models in self.held.items():
            self.feed(self.scheduler.receive(peer, Heartbeat(0, tuple(models)), self.now))

    def submit(self, count: int) -> list[str]:
        ids = [f"r{self.now:g}-{len(self.place)}-{number}" for number in range(count)]
        for request_id in ids:
            message = Submit(request_id, MODEL, WORK)
            self.feed(self.scheduler.receive(b"g", message, self.now))
        return ids

    def end(self, ids: Sequence[str]) -> None:
        for request_id in ids:
            last = Output(request_id, "x", FinishReason.STOP, Usage(1, 1))
            self.feed(self.scheduler.receive(self.place[request_id], Outputs((last,)), self.now))

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.beat()
            self.feed(self.scheduler.tick(self.now))


def test_a_hot_model_is_loaded_on_an_idle_worker_and_gets_its_share() -> None:
    bench = Simulation()
    first = bench.submit(5)
    assert {bench.place[i] for i in first} == {b"w0"}
    bench.run(HOT_SECONDS + 2)
    assert bench.changes == [("load", b"w1")]
    assert {bench.place[i] for i in bench.submit(2)} == {b"w1"}
    bench.run(60)
    assert bench.changes == [("load", b"w1")], "7 of 16 slots are not hot"


def test_a_short_wave_changes_nothing() -> None:
    bench = Simulation()
    for _ in range(10):
        ids = bench.submit(6)
        bench.run(HOT_SECONDS - 1)
        bench.end(ids)
        bench.run(2)
    assert bench.changes == []


def test_what_was_added_leaves_when_the_demand_is_long_over() -> None:
    bench = Simulation()
    ids = bench.submit(5)
    bench.run(HOT_SECONDS + 2)
    bench.end(ids)
    bench.run(COOL_SECONDS - 5)
    assert bench.changes == [("load", b"w1")]
    bench.run(10)
    assert bench.changes == [("load", b"w1"), ("unload", b"w1")]
    bench.run(300)
    assert len(bench.changes) == 2, "the first holder keeps it"
    assert bench.held[b"w0"] == {MODEL.id}


def test_the_number_does_not_go_up_and_down() -> None:
    """Waves of 10 s on, 10 s off, for ten minutes: one load, and nothing after."""
    bench = Simulation(workers=2)
    for _ in range(30):
        ids = bench.submit(6)
        bench.run(10)
        bench.end(ids)
        bench.run(10)
    assert bench.changes == [("load", b"w1")]


def test_a_load_that_fails_is_not_tried_again_at_once() -> None:
    bench = Simulation(workers=2, load_fails=True)
    bench.submit(5)
    bench.run(PAUSE_SECONDS)
    assert bench.changes == [("load", b"w1")]
    bench.run(HOT_SECONDS + 5)
    assert len(bench.changes) == 2


@pytest.mark.parametrize("busy", [True, False])
def test_only_idle_workers_take_it(busy: bool) -> None:
    bench = Simulation(workers=2)
    other = LocalModel("o:1", "/models/o", CPU)
    bench.held[b"w1"].add(other.id)
    bench.beat()
    if busy:
        bench.feed(bench.scheduler.receive(b"g", Submit("o", other, WORK), 0))
    bench.submit(5)
    bench.run(HOT_SECONDS + 2)
    assert bench.changes == ([] if busy else [("load", b"w1")])
