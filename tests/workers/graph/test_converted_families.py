"""Converted models of each family in the engine's session: chunks, and rows beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.precision import Precision
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.cache.convert.family_reference import FamilyReference
from tests.cache.convert.tiny_family import FAMILIES, SHORT, TEXTS

NEW = ("mistral", "smollm3", "phi3", "granite", "gemma2", "gemma3")


@pytest.mark.parametrize("name", NEW)
def test_ragged_rows_compute_what_the_family_does(name: str, tmp_path: Path) -> None:
    """One row reads in chunks, then token by token; another one begins beside it."""
    session = opened(name, tmp_path)
    expected = FamilyReference(FAMILIES[name].full_config, FAMILIES[name].tensors())
    first, second = TEXTS[1], TEXTS[0][::-1]
    steps = [
        [Row(0, 0, first[:6], 6)],
        [Row(0, 6, first[6:9], 3), Row(1, 0, second[:5], 5)],
        [Row(0, 9, first[9:10], 1), Row(1, 5, second[5:], 2)],
        [Row(0, 10, first[10:], 4)],
    ]
    found: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for rows in steps:
        logits, at = session.run(rows), 0
        for row in rows:
            found[row.slot].append(logits[at : at + row.logits].copy())
            at += row.logits
    for slot, text in enumerate((first, second)):
        logits = np.concatenate(found[slot])
        np.testing.assert_allclose(logits, expected.logits(text), atol=2e-4)


def test_a_row_takes_the_rotary_table_of_its_own_length(tmp_path: Path) -> None:
    session = opened("phi4-mini", tmp_path)
    assert session.short_context == SHORT
    expected = FamilyReference(FAMILIES["phi4-mini"].full_config, FAMILIES["phi4-mini"].tensors())
    short, long = TEXTS
    rows = [Row(0, 0, short, len(short)), Row(1, 0, long, len(long), long=True)]
    logits = session.run(rows)
    np.testing.assert_allclose(logits[: len(short)], expected.logits(short), atol=2e-4)
    np.testing.assert_allclose(logits[len(short) :], expected.logits(long), atol=2e-4)


def opened(name: str, folder: Path) -> DecoderSession:
    source = FAMILIES[name].write_folder(folder / "source")
    convert(source, folder / "model", SMOLLM2_135M, precision=Precision.FP32)
    return DecoderSession(ModelFolder.read(folder / "model"), slots=2, width=16, threads=1)
