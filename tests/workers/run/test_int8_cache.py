"""Keys and values of 8 bits: whatever rows are run, what comes out is near what float32 gives."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.convert.quantization.calibration import calibration_ids
from cupola.cache.home import Home
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.device import CPU
from cupola.workers.engine.engine import Engine
from cupola.workers.engine_options import EngineOptions
from cupola.workers.graph.attention_layers import ATTENTION
from cupola.workers.loading import load
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run import prompt_runner
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.int8_session import Int8Session
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.session import RaggedSession
from tests.examples import examples
from tests.workers.families import FAMILIES, LONG_FROM
from tests.workers.reference import DATA
from tests.workers.tiny import NAME, SLOTS, drain, greedy, words

WIDTH, LENGTH = 32, 96
# KL divergence from float32. Keys that are not a row's own are worth many times as much: see below.
NEAR = 0.1
History = list[tuple[Any, ...]]
KNOWN = sorted(set(calibration_ids((DATA / NAME / "tokenizer.json").read_text("utf-8"), 256)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("int8")
    yield Home(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def model(home: Home) -> Path:
    return soft(home, NAME)


@pytest.fixture(scope="module")
def int8(home: Home, model: Path) -> Int8Session:
    return opened(home, model)


@pytest.fixture(scope="module")
def exact(model: Path) -> DecoderSession:
    return DecoderSession(ModelFolder.read(model), slots=SLOTS, width=WIDTH, threads=1)


def soft(home: Home, name: str) -> Path:
    """A model whose attention is dull. That of random weights is so sharp that rounding a key turns
    it to another token."""
    folder = home.models / "maker" / name
    shutil.copytree(DATA / name, folder)
    shutil.copy(DATA / NAME / "tokenizer.json", folder)
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    for node in graph.graph.node:
        for attribute in node.attribute:
            if node.op_type == ATTENTION and attribute.name == "scale":
                attribute.f /= 16
    onnx.save(graph, folder / "model.onnx")
    return folder


def opened(home: Home, model: Path) -> Int8Session:
    folder = ModelFolder.read(model)
    weights = PrepackedWeights(home, model, CPU)
    return Int8Session(folder, weights, slots=SLOTS, width=WIDTH, threads=1)


def chances(session: RaggedSession, rows: list[Row]) -> np.ndarray:
    """The logarithms of the distributions, [R, vocabulary]."""
    logits = session.run(rows).astype(np.float64)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))


def difference(one: RaggedSession, other: RaggedSession, rows: list[Row]) -> float:
    """The KL divergence of the worst row."""
    found, wanted = chances(one, rows), chances(other, rows)
    return float((np.exp(wanted) * (wanted - found)).sum(axis=-1).max())


def tokens(count: int, seed: int = 0) -> list[int]:
    """Of the calibration text: embeddings of random weights may be louder elsewhere."""
    return [int(token) for token in np.random.default_rng(seed).choice(KNOWN, count)]


def test_a_position_takes_a_quarter_of_the_memory(int8: Int8Session, exact: DecoderSession) -> None:
    assert 4 * int8.cache.bytes_per_token == exact.cache.bytes_per_token


@pytest.mark.parametrize("width", [1, 4, WIDTH])
def test_a_text_is_as_likely(int8: Int8Session, exact: DecoderSession, width: int) -> None:
    text = tokens(LENGTH)
    for start in range(0, LENGTH, width):
        row = Row(0, start, text[start : start + width], width)
        assert difference(int8, exact, [row]) < NEAR


@pytest.mark.slow
@pytest.mark.parametrize("family", (*FAMILIES, "phi3-long"))
def test_whatever_the_family_keys_and_values_fit(home: Home, family: str) -> None:
    folder = soft(home, f"{family}-fp32")
    short = opened(home, folder)
    exact = DecoderSession(ModelFolder.read(folder), slots=SLOTS, width=WIDTH, threads=1)
    text = tokens(LENGTH)
    for width in (1, WIDTH):
        for start in range(0, LENGTH, width):
            row = Row(0, start, text[start : start + width], width, long=LENGTH > LONG_FROM)
            assert difference(short, exact, [row]) < NEAR


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Runs, copies and forgotten rows in any order."""
    lengths = [0] * SLOTS
    history: History = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(("run", "run", "run", "copy", "forget")))
        slot = draw(st.integers(0, SLOTS - 1))
        if kind == "run":
            slots = draw(st.sets(st.integers(0, SLOTS - 1), min_size=1))
            rows, left = [], WIDTH
            # As an engine has them: those of few tokens first.
            widths = sorted(draw(st.sampled_from((1, 1, 3, 12, WIDTH))) for _ in slots)
            for each, wide in zip(sorted(slots), widths, strict=True):
                past = draw(st.integers(max(0, lengths[each] - 2), lengths[each]))
                count = min(wide, left, LENGTH - past)
                if count > 0:
                    rows.append((each, past, count, draw(st.booleans())))
                    lengths[each], left = past + count, left - count
            history.append(("run", tuple(rows)))
        elif kind == "copy" and lengths[slot]:
            target = (slot + draw(st.integers(1, SLOTS - 1))) % SLOTS
            lengths[target] = draw(st.integers(1, lengths[slot]))
            history.append(("copy", slot, target, lengths[target]))
        elif kind == "forget":
            lengths[slot] = 0
            history.append(("forget", slot))
    return history


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_any_history_of_rows_gives_what_float32_gives(
    int8: Int8Session, exact: DecoderSession, history: History, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    for session in (int8, exact):
        for slot in range(SLOTS):
            session.cache.forget(slot)
    for kind, *values in history:
        if kind == "run":
            (rows,) = values
            made = [
                Row(slot, past, chance.choice(KNOWN, count).tolist(), int(wanted))
                for slot, past, count, wanted in rows
            ]
            for session in (int8, exact):
                for row in made:
                    session.cache.claim(row.slot, row.past)
            if made and any(row.logits for row in made):
                assert difference(int8, exact, made) < NEAR
            elif made:
                int8.run(made), exact.run(made)
        else:
            for session in (int8, exact):
                getattr(session.cache, kind)(*values)


def test_a_row_that_was_copied_over_between_two_chunks_is_read_anew(
    int8: Int8Session, exact: DecoderSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_chunk() -> float:
        for session in (int8, exact):
            session.run([Row(0, 0, tokens(16, 1), 0), Row(1, 0, tokens(16, 2), 0)])
            session.cache.copy(1, 0, 16)
        return difference(int8, exact, [Row(0, 16, tokens(16, 3), 1)])

    assert last_chunk() < NEAR
    # And the test would notice: with a cache that does not tell of the copy it is far off.
    monkeypatch.setattr(int8.cache, "versions", _Constant())
    assert last_chunk() > 4 * NEAR


def test_tokens_written_between_two_chunks_are_read_also_where_the_slot_had_another_prompt(
    int8: Int8Session, exact: DecoderSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_chunk() -> float:
        for session in (int8, exact):
            for slot in range(2):
                session.cache.forget(slot)
            session.run([Row(1, 0, tokens(16, 1), 1), Row(0, 0, tokens(16, 2), 0)])
            session.cache.forget(0)
            session.run([Row(0, 0, tokens(16, 3), 0)])  # in another row of float32 than before
            session.run([Row(0, 4, tokens(8, 4), 0)])  # few tokens: over int8
        stages = [stage.slot for stage in int8.prompts.stages]
        assert stages.count(0) == 2
        return difference(int8, exact, [Row(0, 12, tokens(16, 5), 1)])

    int8.prompts.clear()
    assert last_chunk() < NEAR
    # And the test would notice: see above.
    monkeypatch.setattr(int8.prompts, "on_cache_written", lambda rows: None)
    int8.prompts.clear()
    assert last_chunk() > 4 * NEAR


class _Constant(list[int]):
    def __getitem__(self, index: object) -> int:  # type: ignore[override]
        return 0

    def __setitem__(self, index: object, value: object) -> None: ...


def test_moreprompts_in_a_run_than_there_are_rows_of_float32(
    int8: Int8Session, exact: DecoderSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8.prompts, "stages", int8.prompts.stages[:1])
    rows = [Row(0, 0, tokens(10, 1), 1), Row(1, 0, tokens(11, 2), 2), Row(2, 0, tokens(10, 3), 0)]
    assert difference(int8, exact, rows) < NEAR


def test_what_is_louder_than_the_calibration_text_is_cut_off(int8: Int8Session) -> None:
    prompts = int8.prompts
    prompts.floats.array[0, 0, 0, :, 0] = 1e6
    prompts.store(0, 0, 0, 1)
    assert (int8.cache.array[0, 0, 0, :, 0] == 127).all()
    prompts.floats.forget(0)


def test_a_failed_run_leaves_nothing_behind(int8: Int8Session, exact: DecoderSession) -> None:
    int8.run([Row(0, 0, tokens(16, 1), 0)])
    with pytest.raises(Exception, match="indices element out of data bounds"):
        int8.run([Row(0, 16, [10**6] * 16, 1)])
    int8.rebuild()
    for session in (int8, exact):
        session.run([Row(0, 0, tokens(16, 4), 0)])
    assert difference(int8, exact, [Row(0, 16, tokens(12, 5), 1)]) < NEAR


def test_the_scales_are_found_once(
    home: Home, model: Path, int8: Int8Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("they were known")

    monkeypatch.setattr(prompt_runner.PromptRunner, "observe", never)
    again = opened(home, model)
    assert (again.prompts.scales == int8.prompts.scales).all()
    rows = [Row(0, 0, tokens(4), 1)]
    assert (again.run(rows) == int8.run(rows)).all()


def test_an_engine_answers_over_it(home: Home, model: Path) -> None:
    options = EngineOptions(slots=SLOTS, step_tokens=WIDTH, int8_cache=True, home=home)
    backend = load(LocalModel(NAME, str(model), ExecutionProvider.CPU), options)
    assert isinstance(backend, Engine)
    assert isinstance(backend.session, Int8Session)
    assert backend.serving.kv_cache == "int8"
    for number in range(2 * SLOTS):
        backend.add(str(number), greedy(words(40, number), 20, ignore_eos=True))
    answers = drain(backend)
    assert len(answers) == 2 * SLOTS
    assert all(outputs[-1].usage.completion_tokens == 20 for outputs in answers.values())
    assert not backend.violations()


def test_a_changed_byte_in_the_graph_makes_it_again(home: Home, model: Path) -> None:
    scales = opened(home, model).prompts.scales
    (graph,) = home.prepacked_folder(model).rglob("int8-*.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 0x10
    graph.write_bytes(content)
    np.testing.assert_array_equal(opened(home, model).prompts.scales, scales)
    assert graph.read_bytes() != content


def test_where_no_graph_can_be_kept_keys_and_values_stay_as_they_are(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PrepackedWeights, "variant", full)
    options = EngineOptions(slots=2, step_tokens=WIDTH, int8_cache=True, home=Home(tmp_path))
    with caplog.at_level(logging.WARNING):
        backend = load(LocalModel(NAME, str(model), ExecutionProvider.CPU), options)
    assert isinstance(backend, Engine)
    assert isinstance(backend.session, DecoderSession)
    assert backend.serving.kv_cache == "float32"
    assert "its keys and values stay as they are" in caplog.text
    assert "No space left" in caplog.text
    shutil.rmtree(tmp_path)
