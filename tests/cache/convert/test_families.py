"""A family is a record: blocks that the converter has never seen are written as they are named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.families import FAMILIES
from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.graph.attention import GroupedQueryAttention
from cupola.cache.convert.graph.blocks import GraphContext
from cupola.cache.convert.graph.layers import PreNormLayer
from cupola.cache.convert.sources import read_decoder
from cupola.cache.convert.weights.decoder_weights import Projection
from cupola.cache.errors import UnsupportedError
from tests.cache.convert.plain_graph import written
from tests.cache.convert.reference import Array, Reference
from tests.cache.convert.tiny_gguf import TinyModel

IDS = [1, 72, 5, 260, 33, 99, 100]


@dataclass(frozen=True, slots=True)
class ReluGlu:
    """``down(relu(gate(x)) * up(x))``, which no family has."""

    def write(self, graph: GraphContext, layer: int, x: str) -> str:
        at = f"/model/layers.{layer}/mlp"

        def project(which: Projection, x: str) -> str:
            matrix = graph.weights.projection(layer, which)
            return graph.projections.add(x, matrix, f"{at}/{which.value}")

        gate = graph.nodes.add("Relu", [project(Projection.GATE, x)], f"{at}/Relu")
        product = graph.nodes.add("Mul", [gate, project(Projection.UP, x)], f"{at}/Mul")
        return project(Projection.DOWN, product)


class ReluReference(Reference):
    def activation(self, x: Array) -> Array:
        return np.maximum(x, np.float32(0))


def test_a_new_kind_of_block_is_named_in_the_record(tmp_path: Path) -> None:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    family, weights = read_decoder(GgufFile(gguf))
    layer = PreNormLayer(attention=GroupedQueryAttention(), mlp=ReluGlu())
    found = written(replace(family.blocks, layer=layer), weights, tmp_path / "relu").logits(IDS)
    np.testing.assert_allclose(found, ReluReference(gguf).logits(IDS), atol=1e-4)
    assert np.abs(found - Reference(gguf).logits(IDS)).max() > 0.1


def test_unknown_families_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    gguf = GgufFile(TinyModel(architecture="mamba").write(tmp_path / "m.gguf"))
    with pytest.raises(UnsupportedError, match=", ".join(sorted(FAMILIES))):
        read_decoder(gguf)
