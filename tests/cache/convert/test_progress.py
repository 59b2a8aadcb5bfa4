"""How far a conversion says that it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.precision import Precision
from tests.cache.convert.tiny_gguf import TinyModel


@pytest.mark.parametrize(
    ("precision", "kind", "compared"),
    [
        (Precision.INT4, Kind.Q4_1, 1 << 30),
        (Precision.INT4, Kind.Q4_1, 0),
        (Precision.INT8, Kind.F16, 1 << 30),
        (Precision.W8A8, Kind.F16, 0),
        (Precision.W8A8, Kind.Q4_1, 1 << 30),
        (Precision.FP16, Kind.F16, 0),
    ],
)
def test_it_is_all_done_only_in_the_end(
    precision: Precision, kind: Kind, compared: int, tmp_path: Path
) -> None:
    """The model is run to measure it, which takes as long as the rest."""
    source = TinyModel(kind=kind).write(tmp_path / "m.gguf")
    told: list[tuple[int, int | None]] = []
    convert(
        source,
        tmp_path / "model",
        SMOLLM2_135M,
        precision=precision,
        progress=lambda stage, done, total: told.append((done, total)),
        max_compared_bytes=compared,
    )
    assert len({total for _, total in told}) == 1
    done = [each for each, _ in told]
    assert done == sorted(done)
    ends = [at for at, (each, total) in enumerate(told) if each == total]
    assert ends == [len(told) - 1]
