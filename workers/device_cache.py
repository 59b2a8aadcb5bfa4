"""Keys and values in the memory of a device, bound in place like those in the machine's memory.

Written for CUDA and never run on one. All of it is committed at once, and rows cannot be copied: a
prefix is used again only by a prompt that continues it in its own row.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from cupola.workers.attention_layers import KeyValueShape
from cupola.workers.device import Device


class DeviceCache:
    """See ``kv_cache.KeyValueCache``."""

    copies = False

    def __init__(self, shape: KeyValueShape, slots: int, capacity: int, device: Device) -> None:
        self.shape = shape
        self.bytes_per_token = shape.bytes_per_token
        self._device = device
        self._dims = (shape.heads, capacity, shape.head_size)
        # Zeros, because what has never been written must not be a NaN.
        zeros = np.zeros((slots, *self._dims), shape.dtype)
        self._parts = [
            [ort.OrtValue.ortvalue_from_numpy(zeros, device.memory, device.index) for _ in range(2)]
            for _ in range(shape.layers)
        ]

    def place(
        self, layer: int, part: int, depth: int
    ) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
        """Where the keys (part 0) or values (1) of the first ``depth`` rows lie, for a binding."""
        pointer = self._parts[layer][part].data_ptr()
        dims = (depth, *self._dims)
        return self._device.memory, self._device.index, self.shape.dtype.type, dims, pointer

    def copy(self, source: int, target: int, length: int) -> None:
        raise NotImplementedError("keys and values on a device cannot be copied")

    def forget(self, slot: int) -> None:
        """The memory stays: the next sequence of the slot writes over it."""
