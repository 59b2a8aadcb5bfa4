"""How rows become runs, and that it makes no difference to what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run import decoder_session as sessions
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row, fill, pack, span
from cupola.workers.run.step_split import runs
from tests.workers.reference import DATA

ONE, OTHER = Row(4, 300, [1], 1), Row(7, 200, [2], 1)
CHUNK = Row(5, 10, [3, 4, 5], 0)


@pytest.mark.parametrize(
    ("rows", "most", "made"),
    [
        ([ONE, OTHER, CHUNK], 499, [[ONE, OTHER], [CHUNK]]),
        ([ONE, OTHER, CHUNK], 500, [[ONE, OTHER, CHUNK]]),
        ([ONE, OTHER], 0, [[ONE, OTHER]]),
        ([CHUNK, ONE], 0, [[CHUNK, ONE]]),
    ],
)
def test_long_rows_of_one_token_run_before_the_others(
    rows: list[Row], most: int, made: list[list[Row]]
):
    assert runs(rows, most) == made


def test_a_run_spans_the_slots_between_its_rows_and_no_others():
    slots = span([OTHER, ONE])
    assert slots == range(4, 8)
    inputs = pack([OTHER, ONE], slots)
    fill(inputs, [OTHER, ONE], slots, 0)
    assert inputs["query_seqlens"].tolist() == [1, 0, 0, 1]
    assert inputs["seqlens_k"].tolist() == [300, 0, 0, 200]
    assert inputs["ungrid"][0].tolist() == [[3, 0], [0, 0]]


def test_two_runs_make_the_logits_of_one(monkeypatch: pytest.MonkeyPatch):
    def logits(copied: float) -> list[np.ndarray]:
        monkeypatch.setattr(sessions, "COPY_SPEED", copied)
        model = DecoderSession(ModelFolder.read(DATA / "qwen2-fp32"), slots=4, width=16, threads=1)
        made = [model.run([Row(3, 0, [7, 81, 200], 0), Row(1, 0, [44, 3], 2)]).copy()]
        chunks = [Row(2, 0, [5, 6, 7, 8], 0), Row(0, 0, [9, 10], 1)]
        made.append(model.run([Row(3, 3, [13], 1), Row(1, 2, [120], 1), *chunks]).copy())
        rows = [Row(1, 3, [1], 0), Row(2, 4, [2], 0), Row(0, 2, [11, 12, 13], 0)]
        made.append(model.run(rows).copy())
        made.append(model.run([Row(slot, 5, [slot], 1) for slot in (0, 2)]).copy())
        return made

    for one, two in zip(logits(1e9), logits(0), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert one.shape[0] == 2
