"""GGUF's blocks of four bits and less, taken apart without a change to any weight.

A weight of such a block is ``scale * code + offset``. Dequantisation to float32 is ``gguf``'s; here
the codes themselves are wanted, because ONNX Runtime can multiply by them as they are.

Format: https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import Q4_K

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

MIDDLE = 8  # the code of zero in blocks that are symmetric


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows of a tensor. A weight is its block's ``scale * code + offset``."""

    codes: Bytes  # [rows, K], of 0 to 15
    scales: Array  # [rows, K / block]
    offsets: Array  # [rows, K / block]


@dataclass(frozen=True, slots=True)
class Coding:
    """How a type of tensor stores its weights."""

    block: int  # weights that share a scale and an offset
    symmetric: bool  # each offset is -MIDDLE times the scale


def coded_rows(data: Bytes, kind: GGMLQuantizationType) -> CodedRows:
    """Takes rows ``[rows, bytes of a row]`` apart. ``kind`` is one of ``CODINGS``."""
    _, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = np.ascontiguousarray(data).reshape(-1, block_bytes)
    codes, scales, offsets = _READERS[kind](blocks)
    count = len(data)
    return CodedRows(
        codes.reshape(count, -1), scales.reshape(count, -1), offsets.reshape(count, -1)
    )


def _halves(blocks: Bytes) -> Array:
    """Pairs of bytes ``[..., 2n]`` as float16, in float32 ``[..., n]``."""
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """The low halves of some bytes ``[blocks, n]``, then their high halves: ``[blocks, 2n]``."""
    return np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1)


def _q4_0(blocks: Bytes) -> tuple[Bytes, Array, Array]:
    scales = _halves(blocks[:, :2])
    return _nibbles(blocks[:, 2:]), scales, -MIDDLE * scales


def _q4_1(blocks: Bytes) -> tuple[Bytes, Array, Array]:
    return _nibbles(blocks[:, 4:]), _halves(blocks[:, :2]), _halves(blocks[:, 2:4])


def _q4_k(blocks: Bytes) -> tuple[Bytes, Array, Array]:
    scales, minimums = Q4_K.get_scale_min(blocks[:, 4:16])
    # 32 bytes hold two blocks of 32 weights: one in their low halves, one in their high halves.
    codes = _nibbles(blocks[:, 16:].reshape(-1, 32)).reshape(len(blocks), -1)
    return codes, _halves(blocks[:, :2]) * scales, -_halves(blocks[:, 2:4]) * minimums


# They read blocks as bytes [blocks, bytes of a block]. They return codes [blocks, weights of a
# block], scales and offsets, both [blocks, scales of a block].
_READERS: Mapping[GGMLQuantizationType, Callable[[Bytes], tuple[Bytes, Array, Array]]] = {
    GGMLQuantizationType.Q4_0: _q4_0,
    GGMLQuantizationType.Q4_1: _q4_1,
    GGMLQuantizationType.Q4_K: _q4_k,
}
CODINGS: Mapping[GGMLQuantizationType, Coding] = {
    GGMLQuantizationType.Q4_0: Coding(32, symmetric=True),
    GGMLQuantizationType.Q4_1: Coding(32, symmetric=False),
    GGMLQuantizationType.Q4_K: Coding(32, symmetric=False),
}
