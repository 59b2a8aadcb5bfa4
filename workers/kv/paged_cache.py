"""Keys and values in blocks of a device's memory, which rows take as they grow."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import Device
from cupola.workers.graph.attention_layers import KeyValueShape
from cupola.workers.kv.block_table import BlockTable
from cupola.workers.kv.kv_store import KVStore


class PagedCache(KVStore):
    """Keys and values of all rows in blocks ``[blocks, block, heads, head size]`` of each layer.

    All memory is committed at once. Rows cannot be copied: only a prompt that continues what its
    own row holds uses it again.
    """

    gives_back = False

    def __init__(
        self, shape: KeyValueShape, rows: int, blocks: int, block: int, device: Device
    ) -> None:
        """``block``: the positions of a block."""
        self.bytes_per_token = shape.bytes_per_token
        self.blocks = BlockTable(rows, blocks, block)
        # Memory that was never written must not hold a NaN.
        zeros = np.zeros((blocks, block, shape.heads, shape.head_size), shape.dtype)
        self.parts = [[_filled(zeros, device) for _ in range(2)] for _ in range(shape.layers)]

    def forget(self, row: int) -> None:
        """See ``KVStore.forget``. The device's memory stays, for other rows."""
        self.blocks.forget(row)


def _filled(values: NDArray[np.generic], device: Device) -> ort.OrtValue:
    """Memory of the device that holds ``values``."""
    part = ort.OrtValue.ortvalue_from_shape_and_type(
        values.shape, values.dtype, device.memory, device.index
    )
    part.update_inplace(values)
    return part
