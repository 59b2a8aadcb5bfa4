"""Models make room for each other, and what cannot fit is refused with figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.model_config import FEW_TOKEN_FILES
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    FromWorker,
    Heartbeat,
    LoadModel,
    Rejected,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.workers import model_memory
from cupola.workers.echo import EchoBackend
from cupola.workers.eviction import NoRoomError, to_evict
from cupola.workers.graph.block_graph import with_block_weights
from cupola.workers.graph.serving_graph import serving_graph
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model_memory import ModelMemory
from cupola.workers.residency import Residency, Resident
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker
from tests.w8a8 import write_w8a8
from tests.workers.reference import DATA

CPU, CUDA = ExecutionProvider.CPU, ExecutionProvider.CUDA
GIGABYTE = 10**9
SIZES = {"small": 1, "large": 3, "huge": 9}  # gigabytes
TOTAL = 5


class Memory(ModelMemory):
    """A machine whose memory has only models in it."""

    def __init__(self, residency: Residency) -> None:
        super().__init__()
        self._residency = residency
        self.taken = 0  # gigabytes, by other processes
        self.copies_of: dict[str, int] = {}  # gigabytes, by the model's id

    def copied(self, model: LocalModel) -> int:
        return self.copies_of.get(model.id, 0) * GIGABYTE

    def needed(self, model: LocalModel) -> int:
        return SIZES[model.id.partition("-")[0]] * GIGABYTE

    def size(self, model: LocalModel) -> int:
        return self.needed(model)

    def available(self) -> int:
        loaded = [m for m in self._residency.models.values() if m.backend is not None]
        return (TOTAL - self.taken) * GIGABYTE - sum(model.needed for model in loaded)


class Bench:
    def __init__(self, pinned: tuple[str, ...] = ()) -> None:
        self.residency = Residency(600, pinned)
        self.loads: list[str] = []
        self.memory = Memory(self.residency)
        identity = Identity("cpu:0/0", CPU, 1, 4)
        self.worker = Worker(
            identity, self.residency, lambda m: self.loads.append(m.id), self.memory
        )

    def load(self, model_id: str, now: float = 0, ttl: float | None = None) -> list[FromWorker]:
        answers = self.ask(model_id, now, ttl)
        return answers + self.finish(model_id, now)

    def ask(self, model_id: str, now: float = 0, ttl: float | None = None) -> list[FromWorker]:
        message = LoadModel(f"l-{model_id}", LocalModel(model_id, f"/{model_id}", CPU), ttl)
        return self.worker.receive(message, now)

    def finish(self, model_id: str, now: float = 0) -> list[FromWorker]:
        if model_id in self.residency.loading:
            return self.worker.loaded(model_id, EchoBackend(), now)
        return []


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_model_that_was_used_least_recently_makes_room(bench: Bench) -> None:
    bench.load("small-a", now=1)
    bench.load("small-b", now=2)
    bench.load("small-a", now=3)
    bench.load("large", now=4)
    assert bench.residency.loaded == ("large", "small-a")
    bench.load("large-b", now=5)
    assert list(bench.residency.loaded) == ["large-b"]


def test_the_scheduler_learns_of_it_at_once(bench: Bench) -> None:
    bench.load("large", now=1)
    (beat,) = bench.ask("large-b", now=2)
    assert isinstance(beat, Heartbeat)
    assert (beat.resident, beat.evicted) == ((), 1)
    bench.finish("large-b", now=3)
    beat = bench.worker.report.heartbeat(4)
    assert beat.evicted == 0  # it is told once
    assert beat.serving["large-b"].weight_bytes == SIZES["large"] * GIGABYTE


@pytest.mark.parametrize("kept", ["pinned", "promised", "in use", "loading"])
def test_what_must_stay_stays_and_the_other_is_refused_with_figures(kept: str) -> None:
    bench = Bench(pinned=("large",) if kept == "pinned" else ())
    if kept == "loading":
        bench.ask("large")
    else:
        bench.load("large", ttl=50 if kept == "promised" else None)
    if kept == "in use":
        work = encode_work(Work(Text("one two")))
        bench.worker.receive(Submit("r", LocalModel("large", "/large", CPU), work), 1)
    (refusal,) = bench.ask("large-b", now=2)
    assert isinstance(refusal, Rejected)
    assert refusal.code is ErrorCode.NO_MEMORY
    assert "needs 3.00 GB" in refusal.message
    assert "2.00 GB can be had" in refusal.message
    assert "large-b" not in bench.loads


def test_a_model_that_never_fits_costs_nobody_his_place(bench: Bench) -> None:
    bench.load("small-a")
    (refusal,) = bench.ask("huge")
    assert isinstance(refusal, Rejected)
    assert bench.residency.loaded == ("small-a",)


def test_who_waited_for_a_reload_that_does_not_fit_any_more_is_told(bench: Bench) -> None:
    bench.load("large", now=1)
    model = LocalModel("large", "/large", CPU)
    work = encode_work(Work(Text("one")))
    bench.worker.receive(Submit("r", model, work), 2)
    bench.worker.receive(UnloadModel("u", "large"), 2)
    bench.worker.receive(LoadModel("again", model), 2)
    bench.ask("small-a", now=2)
    bench.finish("small-a", now=2)
    while bench.worker.busy:
        bench.worker.step(2)
    answers = bench.worker.expire(3)
    ids = [a.request_id for a in answers if isinstance(a, (Done, Rejected))]
    assert ids == ["u"]
    assert bench.residency.loading == ("large",)
    assert [a.request_id for a in bench.finish("large", 4) if isinstance(a, Done)] == ["again"]


def test_a_reload_does_not_take_the_room_of_what_ends_with_it(bench: Bench) -> None:
    """Both models end at the same moment, and the one is to be loaded again at once."""
    bench.load("large", now=0)
    bench.load("small-a", now=0)
    model = LocalModel("large", "/large", CPU)
    bench.worker.receive(Submit("r", model, encode_work(Work(Text("one")))), 1)
    bench.worker.receive(UnloadModel("u", "large"), 1)
    bench.worker.receive(LoadModel("again", model), 1)
    bench.memory.taken = 1
    while bench.worker.busy:
        bench.worker.step(1000)
    heartbeat, *answers = bench.worker.expire(1000)
    assert isinstance(heartbeat, Heartbeat)
    assert (heartbeat.resident, heartbeat.loading) == ((), ("large",))
    assert answers == [Done("u")]
    assert bench.loads == ["large", "small-a", "large"]


def test_the_second_copy_of_weights_needs_room_and_is_no_reason_to_refuse(bench: Bench) -> None:
    bench.load("small-a", now=1)
    bench.memory.copies_of["small-b"] = 3
    bench.load("small-b", now=2)
    assert bench.residency.loaded == ("small-b",)
    assert bench.residency.models["small-b"].needed == 4 * GIGABYTE
    bench.memory.copies_of["large"] = 9
    bench.load("large", now=3)
    assert bench.residency.loaded == ("large",)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=6),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_only_what_is_idle_is_unloaded_and_the_oldest_first(models, needed, copied, available):
    residents = []
    for number, (size, used, pinned) in enumerate(models):
        model = LocalModel(str(number), "/x", CPU)
        resident = Resident(model, 600, used, pinned=pinned, needed=size)
        resident.backend = EchoBackend()
        residents.append(resident)
    can_be_had = available + sum(r.needed for r in residents if not r.pinned)
    try:
        chosen = to_evict("new", needed, copied, available, residents)
    except NoRoomError:
        assert can_be_had < needed
        return
    assert can_be_had >= needed
    assert not any(resident.pinned for resident in chosen)
    left = [r for r in residents if not r.pinned and r not in chosen]
    assert all(one.last_used <= other.last_used for one in chosen for other in left)
    if chosen:
        assert available + sum(r.needed for r in chosen[:-1]) < (needed + copied) * 1.2


def test_sizes_are_those_of_the_weights(tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 10)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 100)
    (tmp_path / "tokenizer.json").write_bytes(b"x" * 1000)
    model = LocalModel("m", str(tmp_path), CPU)
    assert ModelMemory().needed(model) == 110
    assert ModelMemory(maps=True).needed(model) == 0
    assert ModelMemory(maps=True).size(model) == 110
    assert ModelMemory().needed(LocalModel("m", "/nowhere", CPU)) == 0
    assert ModelMemory().available() > 0


@pytest.mark.slow
def test_the_copy_in_blocks_is_as_large_as_it_will_be(tmp_path: Path) -> None:
    path = write_w8a8(tmp_path, tied=True)
    model = LocalModel("m", str(path), CPU)
    folder = ModelFolder.read(path)
    graph = serving_graph(folder.decoder, folder.head_size, padding=16).model
    blocks = with_block_weights(graph, path, 2**24)
    assert blocks is not None
    size = sum(weights.nbytes for weights in blocks.weights.values())
    assert size > 50_000
    assert ModelMemory(copies=2**24).copied(model) == size
    assert ModelMemory(copies=size).copied(model) == size
    assert ModelMemory(copies=size - 1).copied(model) == 0
    assert with_block_weights(graph, path, size - 1) is None
    assert ModelMemory().copied(model) == 0
    assert ModelMemory(copies=2**24).copied(replace(model, provider=CUDA)) == 0
    folder.decoder.write_bytes(b"no graph")
    assert ModelMemory(copies=2**24).copied(model) == 0


@pytest.mark.slow
def test_a_graph_that_takes_long_to_read_is_not_read_for_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_w8a8(tmp_path, tied=True)
    model = LocalModel("m", str(path), CPU)
    size = ModelFolder.read(path).decoder.stat().st_size
    monkeypatch.setattr(model_memory, "_MOST_GRAPH", size)
    assert ModelMemory(copies=2**24).copied(model) > 50_000
    monkeypatch.setattr(model_memory, "_MOST_GRAPH", size - 1)
    assert ModelMemory(copies=2**24).copied(model) == 0


@pytest.mark.slow
def test_a_graph_for_few_tokens_counts_once_and_only_if_it_is_read(tmp_path: Path) -> None:
    path = write_w8a8(tmp_path, tied=True, kind=GGMLQuantizationType.Q4_1)
    model = LocalModel("m", str(path), CPU)
    few = sum((path / name).stat().st_size for name in FEW_TOKEN_FILES)
    memory = ModelMemory(copies=few)
    assert memory.copied(model) == few
    assert memory.needed(model) + few == memory.size(model)
    assert ModelMemory(copies=few - 1).copied(model) == 0


def test_a_model_without_integer_products_has_no_copy() -> None:
    model = LocalModel("m", str(DATA / "builder-fp32"), CPU)
    assert ModelMemory(copies=2**24).copied(model) == 0
    assert ModelMemory(copies=2**24).copied(LocalModel("m", "/nowhere", CPU)) == 0


def test_a_model_that_does_not_fit_is_not_loaded_at_the_start_either(bench: Bench) -> None:
    for name in ("huge", "small-a"):
        bench.worker.lifecycle.preload(LocalModel(name, f"/{name}", CPU), 0)
    assert bench.loads == ["small-a"]
    (refusal,) = bench.ask("huge")
    assert isinstance(refusal, Rejected)
    assert refusal.code is ErrorCode.NO_MEMORY
