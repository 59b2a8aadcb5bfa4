"""Keys and values in the memory of a device, bound in place like those in the machine's memory.

This is written for CUDA and was never run there. All memory is committed at once. Rows cannot be
copied: only a prompt that continues a prefix in its own row uses it again.
"""

from __future__ import annotations

import math

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import Device
from cupola.workers.graph.attention_layers import KeyValueShape
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.model.model_folder import ModelFolderError


def affordable_slots(slots: int, slot_bytes: int, cache_bytes: int) -> int:
    """How many of the slots fit into ``cache_bytes``. Raises ModelFolderError if none does."""
    if cache_bytes < slot_bytes:
        text = (
            f"the keys and values of one request need {slot_bytes >> 20} MB and may have "
            f"{cache_bytes >> 20} MB: set a smaller 'context' or more 'kv_memory_mb'"
        )
        raise ModelFolderError(text)
    return min(slots, cache_bytes // slot_bytes)


class DeviceCache(KVStore):
    """See ``kv_cache.KeyValueCache``."""

    gives_back = False

    def __init__(self, shape: KeyValueShape, slots: int, capacity: int, device: Device) -> None:
        self.shape = shape
        self.bytes_per_token = shape.bytes_per_token
        self._device = device
        self._dims = (shape.heads, capacity, shape.head_size)
        # Memory that was never written must not hold a NaN.
        zeros = np.zeros((slots, *self._dims), shape.dtype)
        self._parts = [[_filled(zeros, device) for _ in range(2)] for _ in range(shape.layers)]

    def place(
        self, layer: int, part: int, rows: range
    ) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
        """Where the keys (part 0) or values (part 1) of some rows lie.

        Memory, device, type, shape and address, as a binding takes them.
        """
        row_bytes = math.prod(self._dims) * self.shape.dtype.itemsize
        pointer = self._parts[layer][part].data_ptr() + rows.start * row_bytes
        dims = (len(rows), *self._dims)
        return self._device.memory, self._device.index, self.shape.dtype.type, dims, pointer

    def forget(self, row: int) -> None:
        """Do nothing: the memory stays, and the next sequence of the slot writes over it."""


def _filled(values: NDArray[np.generic], device: Device) -> ort.OrtValue:
    """Memory of the device that holds ``values``."""
    part = ort.OrtValue.ortvalue_from_shape_and_type(
        values.shape, values.dtype, device.memory, device.index
    )
    part.update_inplace(values)
    return part
