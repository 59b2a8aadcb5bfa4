"""What decides what a model computes, to the last bit, as one name."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort

from cupola.cache.system.processor import processor

# Raise this when the serving graph, or the layout of what is named by this, changes.
_FORMAT = 1


def model_state(folder: Path, *more: str) -> str:
    """A name for the model's files as they are now, on this processor, with this runtime.

    ``more``: what else decides. Raises OSError.
    """
    decisive = [str(_FORMAT), version("cupola"), ort.__version__, ort.get_build_info()]
    decisive += [processor(), *more]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state = path.stat()
        decisive.append(f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(decisive).encode()).hexdigest()[:32]
