"""Halves of a step side by side: what is run stays the same, whatever fails."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import LocalModel
from cupola.workers.device.device import CPU
from cupola.workers.engine.engine import Engine
from cupola.workers.loading import EngineOptions, load
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run import decoder_session
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.lanes import Lane, cost, halves
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from tests.workers.reference import DATA
from tests.workers.tiny import NAME, alone, drain, engine_over, greedy, text, words

SLOTS, WIDTH = 12, 32


class Always:
    """A contest that the lanes have won."""

    taken = 0

    def choose(self, kind: object) -> int:
        self.taken += 1
        return 1

    def observe(self, kind: object, way: int, seconds: float) -> None:
        assert (way, seconds > 0) == (1, True)


def weights(home: Path) -> PrepackedWeights:
    model = Home(home).models / "maker" / "tiny-1"
    shutil.copytree(DATA / NAME, model)
    return PrepackedWeights(Home(home), model, CPU)


def plain() -> DecoderSession:
    return DecoderSession(ModelFolder.read(DATA / NAME), slots=SLOTS, width=WIDTH, threads=1)


def two_lanes(home: Path) -> tuple[DecoderSession, Always]:
    """A session whose steps all run in two halves, if they have two."""
    lanes = weights(home)
    folder = ModelFolder.read(lanes.model)
    made = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=2, lanes=lanes)
    made.wait()
    assert made._lanes is not None and made.abreast == 2
    made._lanes._contest = contest = Always()  # type: ignore[assignment]
    return made, contest


def generating(*pasts: int) -> list[Row]:
    return [Row(slot, past, [slot + 40], 1) for slot, past in enumerate(pasts)]


rows = st.lists(
    st.tuples(st.integers(0, 900), st.one_of(st.just(1), st.integers(2, 60))), max_size=16
).map(lambda found: [Row(n, past, [7] * tokens, 1) for n, (past, tokens) in enumerate(found)])


@given(rows)
def test_halves_have_every_row_once_and_about_the_same_work(given_: list[Row]) -> None:
    both = halves(given_)
    if both is None:
        return
    assert sorted(both[0] + both[1]) == list(range(len(given_)))
    total = sum(map(cost, given_))
    for half in both:
        assert 0.34 < sum(cost(given_[n]) for n in half) / total < 0.66
        counts = [len(given_[n].tokens) > 1 for n in half]
        assert counts == sorted(counts)  # those of one token first


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


@pytest.mark.parametrize("copied", [10**9, 0], ids=["one run a lane", "two runs a lane"])
def test_logits_are_those_of_one_run(
    copied: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the rows, whichever half they were in, and of which none are wanted."""
    monkeypatch.setattr(decoder_session, "_COPIED", copied)
    one, (two, contest) = plain(), two_lanes(tmp_path)
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
    assert contest.taken == 12


class Late:
    """A lane that writes its logits last."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def run(self, rows: Sequence[Row], logits: np.ndarray) -> float:
        time.sleep(0.05)
        return self.lane.run(rows, logits)


@pytest.mark.parametrize(
    "given_",
    [
        [Row(slot, 0, [slot] * (3 if slot == 1 else 1), 1) for slot in range(9)],
        [Row(0, 0, [7] * 9, 0), Row(1, 0, [8] * 9, 1)],
    ],
    ids=["a guess in the first half", "a half of which none are wanted"],
)
def test_logits_lie_where_they_should(given_: list[Row], tmp_path: Path) -> None:
    session, contest = two_lanes(tmp_path)
    assert session._lanes is not None and session._lanes._two.value is not None
    first, second = session._lanes._two.value
    session._lanes._two.value = [Late(first), second]  # type: ignore[list-item]
    np.testing.assert_allclose(session.run(given_), plain().run(given_), atol=1e-4)
    assert contest.taken == 1


def test_sequences_are_as_if_alone(tmp_path: Path) -> None:
    """Prompts in chunks, two abreast, beside others that generate."""
    session, contest = two_lanes(tmp_path)
    backend = engine_over(session)
    prompts = {str(n): words(20 + 9 * n, n) for n in range(10)}
    for request_id, prompt in prompts.items():
        backend.add(request_id, greedy(prompt, 24))
    made = {request_id: text(outputs) for request_id, outputs in drain(backend).items()}
    assert made == {request_id: alone(prompt, 24) for request_id, prompt in prompts.items()}
    assert contest.taken > 20
    assert backend.violations() == []


class Failing(Lane):
    def __init__(self) -> None: ...

    def run(self, rows: Sequence[Row], logits: np.ndarray) -> float:
        raise RuntimeError("it cannot")


@pytest.mark.parametrize("which", [0, 1])
def test_a_step_of_which_a_half_fails_runs_whole(
    which: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session, contest = two_lanes(tmp_path)
    assert session._lanes is not None and session._lanes._two.value is not None
    both = list(session._lanes._two.value)
    both[which] = Failing()
    session._lanes._two.value = both
    for _ in range(2):
        given_ = generating(*[0] * 8)
        np.testing.assert_allclose(session.run(given_), plain().run(given_), atol=1e-4)
    assert (session.abreast, contest.taken) == (1, 1)
    assert "it cannot" in caplog.text


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

    monkeypatch.setattr(PrepackedWeights, "_make", full)
    lanes = weights(tmp_path)
    folder = ModelFolder.read(lanes.model)
    with caplog.at_level(logging.WARNING):
        session = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=2, lanes=lanes)
        session.wait()
    assert "there are no lanes: the disk is full" in caplog.text
    assert session.abreast == 1
    given_ = generating(*[0] * 8)
    np.testing.assert_allclose(session.run(given_), plain().run(given_), atol=1e-4)


def test_one_thread_cannot_be_halved(tmp_path: Path) -> None:
    lanes = weights(tmp_path)
    folder = ModelFolder.read(lanes.model)
    session = DecoderSession(folder, slots=SLOTS, width=WIDTH, threads=1, lanes=lanes)
    assert session._lanes is None


@pytest.mark.parametrize(
    ("lane_bytes", "threads", "abreast"), [(2**30, 2, 2), (1000, 2, 1), (0, 2, 1), (2**30, 1, 1)]
)
def test_models_up_to_a_size_have_lanes(
    lane_bytes: int, threads: int, abreast: int, tmp_path: Path
) -> None:
    made = weights(tmp_path)
    model = LocalModel("tiny", str(made.model), ExecutionProvider.CPU)
    options = EngineOptions(
        slots=SLOTS, step_tokens=WIDTH, threads=threads, home=made.home, lane_bytes=lane_bytes
    )
    backend = load(model, options)
    assert isinstance(backend, Engine) and isinstance(backend._session, DecoderSession)
    backend._session.wait()
    assert backend._session.abreast == abreast
    assert made.home.prepacked.exists() == (abreast == 2)
