"""Which bits an import takes when it is not told."""

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.stored_precision import stored_precision
from cupola.cache.precision import Precision
from tests.cache.convert.tiny_gguf import TinyModel


@pytest.mark.parametrize(
    ("kind", "others", "precision"),
    [
        (Kind.Q4_0, {}, Precision.INT4),
        (Kind.Q4_1, {"token_embd": Kind.Q8_0}, Precision.INT4),
        (Kind.Q4_1, {"attn_v": Kind.Q8_0, "ffn_down": Kind.Q8_0}, Precision.INT4),
        (Kind.Q8_0, {"attn_k": Kind.Q4_0}, Precision.INT8),
        (Kind.Q8_0, {"token_embd": Kind.Q4_0}, Precision.INT8),
        (Kind.Q5_0, {}, Precision.INT8),
        (Kind.F16, {}, Precision.INT8),
    ],
)
def test_most_weights_of_the_layers_decide(
    kind: Kind, others: dict[str, Kind], precision: Precision, tmp_path: Path
) -> None:
    gguf = TinyModel(kind=kind, kinds=others).write(tmp_path / "m.gguf")
    assert stored_precision(GgufFile(gguf)) is precision
