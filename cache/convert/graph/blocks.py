"""What the blocks of a decoder's graph share, and the interfaces of the kinds of block.

A block is a small frozen object that writes nodes. A model family names its blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx

from cupola.cache.convert.graph.graph_nodes import GraphNodes
from cupola.cache.convert.graph.initializers import Initializers
from cupola.cache.convert.graph.projections import Projections
from cupola.cache.convert.weights.decoder_shape import DecoderShape
from cupola.cache.convert.weights.decoder_weights import DecoderWeights
from cupola.cache.precision import Precision


@dataclass(frozen=True, slots=True)
class GraphContext:
    """The graph of one decoder while it is written, and the names that all of its layers use."""

    weights: DecoderWeights
    stored: Initializers
    nodes: GraphNodes
    projections: Projections
    inputs: list[onnx.ValueInfoProto]
    outputs: list[onnx.ValueInfoProto]
    # int32 [batch]: each sequence's tokens less one. int32 []: the longest sequence's tokens.
    lengths: tuple[str, str]
    # By their names in the shape, float32 [context_length, rotary channels / 2]: cosines and sines.
    rotary: Mapping[str, tuple[str, str]]

    @property
    def shape(self) -> DecoderShape:
        return self.weights.shape

    @property
    def precision(self) -> Precision:
        return self.stored.precision


class Block(Protocol):
    """A half of a decoder layer: attention or an MLP."""

    def write(self, graph: GraphContext, layer: int, x: str) -> str:
        """Adds the block for the normed ``x [batch, tokens, hidden]``.

        Returns the name of its output, of the same shape.
        """


class Layer(Protocol):
    """A layer: attention, an MLP, their norms and the residual stream around them."""

    def write(self, graph: GraphContext, layer: int, x: str, residual: str) -> tuple[str, str]:
        """Adds one layer. The stream comes in two summands, and leaves in two.

        The next norm adds ``x`` to ``residual`` in the same node. ``residual`` is empty before the
        first layer. Both are ``[batch, tokens, hidden]``.
        """


class Embedding(Protocol):
    """The lookup of the tokens."""

    def write(self, graph: GraphContext) -> str:
        """Adds the lookup of ``input_ids``. Returns the name of ``[batch, tokens, hidden]``."""


class Head(Protocol):
    """The output layer."""

    def write(self, graph: GraphContext, x: str) -> None:
        """Adds the product of the normed ``x`` that is the graph's output ``logits``."""


@dataclass(frozen=True, slots=True)
class DecoderBlocks:
    """The kinds of block that a decoder is built of. All layers are of one kind."""

    embedding: Embedding
    layer: Layer
    head: Head
