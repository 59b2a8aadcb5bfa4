"""The precision that suits what a GGUF file has."""

from __future__ import annotations

import math

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.precision import Precision


def stored_precision(gguf: GgufFile) -> Precision:
    """INT4 if most weights of the layers can stay in the four bits that they have, else INT8."""
    sizes = {True: 0, False: 0}
    for name, tensor in gguf.tensors.items():
        if name.startswith("blk.") and len(tensor.shape) == 2:
            sizes[tensor.coding is not None] += math.prod(tensor.shape)
    return Precision.INT4 if sizes[True] > sizes[False] else Precision.INT8
