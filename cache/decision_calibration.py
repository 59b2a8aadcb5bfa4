"""``decisions.json``, which a calibration leaves beside a model: how certain its decisions are.

Imports nothing heavy, because the gateway reads it for every request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

CALIBRATION_FILE = "decisions.json"
PLOT_FILE = "decisions.svg"
_MAX_FILE_BYTES = 1 << 16


class DecisionCalibration(msgspec.Struct, frozen=True):
    """The content of the file.

    ``temperature``: log-probabilities are divided by it. ``error_before`` and ``error_after``: the
    expected calibration error; the second one of questions that the temperature was not fitted to.
    """

    temperature: Annotated[float, msgspec.Meta(gt=0)]
    questions: int
    accuracy: float
    error_before: float
    error_after: float


def write_calibration(folder: Path, calibration: DecisionCalibration) -> None:
    """Raises OSError."""
    content = msgspec.json.format(msgspec.json.encode(calibration), indent=2)
    (folder / CALIBRATION_FILE).write_bytes(content)


def temperature_of(folder: Path) -> float:
    """The temperature of the model in ``folder``; 1 if it was not calibrated."""
    try:
        with (folder / CALIBRATION_FILE).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES)
        return msgspec.json.decode(content, type=DecisionCalibration).temperature
    except (OSError, msgspec.MsgspecError, RecursionError):
        return 1.0
