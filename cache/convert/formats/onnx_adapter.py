"""Reads an adapter in onnxruntime's form, an ``.onnx_adapter``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from cupola.cache.errors import BrokenFileError


def adapter_parameters(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Its tensors. Raises BrokenFileError, OSError."""
    with path.open("rb"):  # or the error that says what is wrong with the path
        pass
    try:
        found = onnxruntime.AdapterFormat.read_adapter(str(path)).get_parameters()
        return {name: value.numpy().copy() for name, value in found.items()}
    except Exception as error:  # the runtime's errors have no common base of their own
        raise BrokenFileError(f"{path.name} is no adapter of onnxruntime") from error
