"""Halves of a step side by side: the logits stay the same, whatever fails."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.disk.prepacked_entries import LOST
from cupola.cache.home import Home
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.device import CPU
from cupola.workers.engine.engine import Engine
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run import decoder_session
from cupola.workers.run.autotune import TRIALS
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.runner import Logits
from cupola.workers.run.side_by_side import SideBySide
from cupola.workers.run.step_cost import row_cost, step_cost
from cupola.workers.run.step_runner import StepRunner
from cupola.workers.run.step_split import halved_cost, halves
from cupola.workers.run.ways import OneSession, Plan
from tests.w8a8 import write_w8a8
from tests.workers.chosen_way import ChosenWay
from tests.workers.reference import DATA
from tests.workers.tiny import NAME, alone, drain, engine_over, greedy, text, words

SLOTS, WIDTH = 12, 32


def weights(home: Path) -> PrepackedWeights:
    model = Home(home).models / "maker" / "tiny-1"
    shutil.copytree(DATA / NAME, model)
    return PrepackedWeights(Home(home), model, CPU)


def integer_weights(home: Path) -> PrepackedWeights:
    """Of a model that can have weights in blocks as well."""
    model = Home(home).models / "maker" / "tiny-1"
    model.parent.mkdir(parents=True)
    write_w8a8(home, tied=True).rename(model)
    return PrepackedWeights(Home(home), model, CPU)


def plain() -> DecoderSession:
    return DecoderSession(ModelFolder.read(DATA / NAME), slots=SLOTS, width=WIDTH, threads=1)


def two_lanes(home: Path) -> tuple[DecoderSession, ChosenWay]:
    """A session whose steps all run in two halves, if they have two."""
    lanes = weights(home)
    folder = ModelFolder.read(lanes.model)
    autotune = ChosenWay()
    made = DecoderSession(
        folder, slots=SLOTS, width=WIDTH, threads=2, lanes=lanes, autotune=autotune
    )
    made.wait()
    assert made.parallel_prompts == 2
    autotune.taken = 0
    return made, autotune


def generating(*pasts: int) -> list[Row]:
    return [Row(slot, past, [slot + 40], 1) for slot, past in enumerate(pasts)]


rows = st.lists(
    st.tuples(st.integers(0, 900), st.one_of(st.just(1), st.integers(2, 60))), max_size=16
).map(lambda found: [Row(n, past, [7] * tokens, 1) for n, (past, tokens) in enumerate(found)])


@given(rows)
def test_halves_have_every_row_once_and_a_part_of_the_work_each(given_: list[Row]) -> None:
    both = halves(given_)
    if both is None:
        return
    assert sorted(both[0] + both[1]) == list(range(len(given_)))
    total = sum(map(row_cost, given_))
    for half in both:
        assert 0.14 < sum(row_cost(given_[n]) for n in half) / total < 0.86
        counts = [len(given_[n].tokens) > 1 for n in half]
        assert counts == sorted(counts)  # those of one token first


def test_a_long_prompt_makes_a_step_as_much_work_as_two_of_its_kind() -> None:
    prompt, answers = Row(8, 0, [7] * 40, 1), generating(*[0] * 8)
    both = halves([*answers, prompt])
    assert both is not None
    assert halved_cost([*answers, prompt], both) == step_cost([prompt] * 2)
    even = generating(*[0] * 16)
    assert (both := halves(even)) is not None
    assert halved_cost(even, both) == step_cost(even)


def test_rows_that_generate_are_halved_in_their_order() -> None:
    assert halves(generating(*[100] * 8)) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert halves(generating(*[900] * 2, *[10] * 14)) == ([0, 1, 2, 3], list(range(4, 16)))


def test_each_half_has_a_prompt_and_those_who_generate_make_up_for_what_it_is_shorter() -> None:
    prompts = [Row(8, 0, [7] * 20, 0), Row(9, 0, [7] * 24, 0)]
    assert halves([*generating(*[0] * 8), *prompts]) == ([0, 1, 9], [2, 3, 4, 5, 6, 7, 8])


def test_what_cannot_be_halved_runs_whole() -> None:
    assert halves(generating(*[100] * 4)) is None
    assert halves([Row(0, 0, [7] * 30, 1)]) is None
    assert halves([Row(0, 0, [7] * 30, 1), *generating(5, 5)]) is None


@pytest.mark.slow
@pytest.mark.parametrize("copied", [10**9, 0], ids=["one run a lane", "two runs a lane"])
def test_logits_are_those_of_one_run(
    copied: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the rows, whichever half they were in, and of which none are wanted."""
    monkeypatch.setattr(decoder_session, "COPY_SPEED", copied)
    one, (two, autotune) = plain(), two_lanes(tmp_path)
    chance = np.random.default_rng(1)
    lengths = [0] * SLOTS
    for _ in range(12):
        given_ = []
        for slot in chance.permutation(SLOTS).tolist():
            count = int(chance.choice([1, 1, 1, 2, 5]) if lengths[slot] else chance.integers(2, 9))
            tokens = chance.integers(0, 256, count).tolist()
            given_.append(Row(slot, lengths[slot], tokens, int(chance.integers(0, count + 1))))
            lengths[slot] += count
        np.testing.assert_allclose(two.run(given_), one.run(given_), atol=1e-4)
    assert autotune.taken == 12


class Writes:
    """Writes the number of each row's slot as its logits, after a while, or fails."""

    def __init__(self, delay: float = 0.0, fails: bool = False) -> None:
        self.delay, self.fails = delay, fails
        self.slots: list[int] = []

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        if self.fails:
            raise RuntimeError("it cannot")
        time.sleep(self.delay)
        self.slots += [row.slot for row in rows]
        wanted = [row.slot for row in rows for _ in range(row.logits)]
        # As a graph does, it writes one row of logits even if none are wanted.
        logits[: max(1, len(wanted))] = np.array(wanted or [-1], np.float32)[:, None]
        return self.delay

    def rebuild(self) -> None: ...


@pytest.mark.parametrize(
    "given_",
    [
        [Row(slot, 0, [slot] * (3 if slot == 1 else 1), 1) for slot in range(9)],
        [Row(0, 0, [7] * 9, 0), Row(1, 0, [8] * 9, 1)],
    ],
    ids=["a draft in the first half", "a half of which none are wanted"],
)
@pytest.mark.parametrize("late", [0, 1])
def test_logits_lie_where_they_should(given_: list[Row], late: int) -> None:
    """Whichever lane writes last."""
    lanes = [Writes(0.05 if which == late else 0.0) for which in range(2)]
    way = SideBySide(lambda: lanes, copy_limit=10**9)
    way.wait()
    plan = way.plan(given_)
    assert plan is not None
    logits = np.full((1 + sum(row.logits for row in given_), 3), -9, np.float32)
    plan.run(logits)
    wanted = [row.slot for row in given_ for _ in range(row.logits)]
    assert logits[: len(wanted), 0].tolist() == wanted
    assert all(lane.slots for lane in lanes)


@pytest.mark.slow
def test_sequences_are_as_if_alone(tmp_path: Path) -> None:
    """Two prompts are read at once in chunks, beside others that generate."""
    session, autotune = two_lanes(tmp_path)
    backend = engine_over(session)
    prompts = {str(n): words(70 + 9 * n, n) for n in range(10)}
    for request_id, prompt in prompts.items():
        backend.add(request_id, greedy(prompt, 24))
    made = {request_id: text(outputs) for request_id, outputs in drain(backend).items()}
    assert made == {request_id: alone(prompt, 24) for request_id, prompt in prompts.items()}
    assert autotune.taken > 20
    assert backend.violations() == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_step_of_which_a_half_fails_runs_whole(
    which: int, caplog: pytest.LogCaptureFixture
) -> None:
    lanes = [Writes(fails=number == which) for number in range(2)]
    way = SideBySide(lambda: lanes, copy_limit=10**9)
    way.wait()
    runner = StepRunner(OneSession(whole := Writes(), 10**9), way, autotune=ChosenWay())
    logits = np.empty((9, 1), np.float32)
    for _ in range(2):
        runner.run(generating(*[0] * 8), logits)
        assert logits[:8, 0].tolist() == list(range(8))
    assert whole.slots == [*range(8)] * 2
    assert not way.ready
    assert "it cannot" in caplog.text


class Takes:
    """A run takes so many seconds, as it says."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        return self.seconds

    def rebuild(self) -> None: ...


class OfLanes(SideBySide):
    """Lanes whose steps take as many seconds as they say, by the number of rows."""

    def __init__(self, seconds: dict[int, float], forget: Callable[[], None]) -> None:
        super().__init__(lambda: [Takes(0.0)] * 2, 10**9, forget)
        self.seconds = seconds

    def plan(self, rows: Sequence[Row]) -> Plan | None:
        taken = self.seconds[len(rows)]
        plan = super().plan(rows)
        return None if plan is None else plan._replace(run=lambda logits: taken)


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        ({8: 3.0, 16: 3.0, 12: 3.0}, False),
        ({8: 3.0, 16: 3.0}, True),  # too few kinds to tell
        ({8: 3.0, 16: 1.0, 12: 3.0}, True),
        ({8: 1.0, 16: 3.0, 12: 3.0, 28: 3.0}, True),
    ],
)
def test_lanes_that_won_nothing_are_given_up(seconds: dict[int, float], kept: bool) -> None:
    """With what was made for them."""
    forgotten: list[str] = []
    way = OfLanes(seconds, lambda: forgotten.append("the file"))
    way.wait()
    runner = StepRunner(OneSession(Takes(2.0), 10**9), way)
    logits = np.empty((40, 1), np.float32)
    for rows_ in seconds:
        for _ in range(2 * TRIALS):
            runner.run(generating(*[0] * rows_), logits)
    assert way.ready == kept
    assert forgotten == ([] if kept else ["the file"])


@pytest.mark.slow
def test_lanes_that_lost_leave_a_note_and_are_not_made_again(tmp_path: Path) -> None:
    lanes = weights(tmp_path)
    folder = ModelFolder.read(lanes.model)

    def opened() -> DecoderSession:
        made = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=2, lanes=lanes)
        made.wait()
        return made

    first = opened()
    assert first.lanes is not None and first.parallel_prompts == 2
    assert list(lanes.home.prepacked.rglob("weights.bin"))
    first.lanes.give_up()
    [note] = [path for path in lanes.home.prepacked.rglob("*") if path.is_file()
              and path.name != ".lock"]  # fmt: skip
    assert opened().parallel_prompts == 1
    assert not list(lanes.home.prepacked.rglob("weights.bin"))
    os.utime(note, (1, 1))  # the machine may be another one by now
    assert opened().parallel_prompts == 2


@pytest.mark.slow
@pytest.mark.parametrize("block_bytes", [2**24, 0], ids=["blocks", "no blocks"])
def test_the_first_session_uses_the_weights_of_the_lanes(
    block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others run single tokens. Its logits keep their bits."""
    mapped: list[int] = []  # the threads of each session that maps them
    map_ = PrepackedWeights.map

    def noted(weights: PrepackedWeights, graph: Path, threads: int) -> ort.InferenceSession:
        mapped.append(threads)
        return map_(weights, graph, threads)

    monkeypatch.setattr(PrepackedWeights, "map", noted)
    lanes = integer_weights(tmp_path)
    folder = ModelFolder.read(lanes.model)
    opened = partial(DecoderSession, folder, slots=SLOTS, width=WIDTH, threads=2)
    first = ChosenWay(other=False)
    one, two = opened(), opened(block_bytes=block_bytes, lanes=lanes, autotune=first)
    two.wait()
    others = [2] if block_bytes else []
    assert mapped == [1, 1, *others]
    given_ = [Row(0, 0, [*range(30, 60)], 30), Row(1, 0, [5, 6], 2)]
    np.testing.assert_array_equal(two.run(given_), one.run(given_))
    two.rebuild()
    assert sorted(mapped) == [1, 1, 1, 1, *others, *others]
    np.testing.assert_array_equal(two.run(given_), one.run(given_))


@pytest.mark.slow
def test_the_file_of_lanes_that_lost_is_not_written_again(tmp_path: Path) -> None:
    """The first session has mapped it, and starts again."""
    lanes = integer_weights(tmp_path)
    session = DecoderSession(
        ModelFolder.read(lanes.model),
        slots=SLOTS,
        width=WIDTH,
        threads=2,
        block_bytes=2**24,
        lanes=lanes,
        autotune=ChosenWay(other=False),
    )
    session.wait()
    assert session.lanes is not None and session.lanes.ready
    given_ = [Row(0, 0, [*range(30, 60)], 30)]
    expected = session.run(given_).copy()
    session.lanes.give_up()
    np.testing.assert_array_equal(session.run(given_), expected)  # of the file that is deleted
    session.rebuild()
    np.testing.assert_array_equal(session.run(given_), expected)
    assert not list(lanes.home.prepacked.rglob("weights.bin"))
    assert list(lanes.home.prepacked.rglob(LOST))


@pytest.mark.slow
def test_all_sessions_start_again(tmp_path: Path) -> None:
    session, _ = two_lanes(tmp_path)
    given_ = generating(*[0] * 8)
    expected = session.run(given_).copy()
    session.rebuild()
    np.testing.assert_array_equal(session.run(given_), expected)


def test_where_weights_cannot_be_mapped_steps_run_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not with a copy of the weights for each half."""

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(PrepackedWeights, "write", full)
    lanes = weights(tmp_path)
    folder = ModelFolder.read(lanes.model)
    with caplog.at_level(logging.WARNING):
        session = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=2, lanes=lanes)
        session.wait()
    assert "there are no lanes: the disk is full" in caplog.text
    assert session.parallel_prompts == 1
    given_ = generating(*[0] * 8)
    np.testing.assert_allclose(session.run(given_), plain().run(given_), atol=1e-4)


def test_one_thread_cannot_be_halved(tmp_path: Path) -> None:
    lanes = weights(tmp_path)
    folder = ModelFolder.read(lanes.model)
    session = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=1, lanes=lanes)
    assert session.lanes is None


@pytest.mark.parametrize(
    ("lane_bytes", "threads", "parallel"), [(2**30, 2, 2), (1000, 2, 1), (0, 2, 1), (2**30, 1, 1)]
)
def test_models_up_to_a_size_have_lanes(
    lane_bytes: int, threads: int, parallel: int, tmp_path: Path
) -> None:
    made = weights(tmp_path)
    model = LocalModel("tiny", str(made.model), ExecutionProvider.CPU)
    options = EngineOptions(
        slots=SLOTS, step_tokens=WIDTH, threads=threads, home=made.home, lane_bytes=lane_bytes
    )
    backend = load(model, options)
    assert isinstance(backend, Engine) and isinstance(backend.session, DecoderSession)
    backend.session.wait()
    assert backend.session.parallel_prompts == parallel
    assert made.home.prepacked.exists() == (parallel == 2)
