"""A tiny model with integer products, and how far its results are from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType

from cupola.cache.catalog import SMOLLM2_135M_W8A8
from cupola.cache.convert.convert import convert
from cupola.cache.precision import Precision
from tests.cache.convert.tiny_gguf import TinyModel

Array = npt.NDArray[np.float32]


def write_w8a8(
    place: Path, *, tied: bool, kind: GGMLQuantizationType = GGMLQuantizationType.F32
) -> Path:
    """The model's folder in ``place``.

    ``tied``: the embedding is the head as well. ``kind``: of the weights in its source.
    """
    gguf = TinyModel(tied=tied, kind=kind).write(place / "m.gguf")
    convert(gguf, place / "model", SMOLLM2_135M_W8A8, precision=Precision.W8A8)
    return place / "model"


def distance(found: Array, expected: Array) -> float:
    """Root mean square error, relative."""
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))
