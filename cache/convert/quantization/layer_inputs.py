"""What the projections of a decoder layer read in a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """The inputs of a layer's projections, ``[tokens, channels]``."""

    qkv: Array  # [tokens, hidden]
    output: Array  # [tokens, heads * head_size]
    mlp: Array  # [tokens, hidden], the input of gate and up
    down: Array  # [tokens, intermediate]
