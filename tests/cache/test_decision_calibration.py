"""The file that a calibration leaves beside a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.cache.decision_calibration import (
    CALIBRATION_FILE,
    DecisionCalibration,
    temperature_of,
    write_calibration,
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_calibration(tmp_path, DecisionCalibration(2.5, 100, 0.8, 0.2, 0.1))
    assert temperature_of(tmp_path) == 2.5


@pytest.mark.parametrize("content", [None, "", "{}", '{"temperature": 0}', "[" * 9999])
def test_without_a_good_file_the_temperature_is_one(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / CALIBRATION_FILE).write_text(content)
    assert temperature_of(tmp_path) == 1.0
