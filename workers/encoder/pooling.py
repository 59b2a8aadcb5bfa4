"""From the hidden states of a text to its vector, as the model's own files say.

The graph of a model that scores pairs does all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cupola.workers.model.model_folder import ModelFolderError

Vectors = NDArray[np.float32]
MODULES = "modules.json"  # of sentence-transformers; a folder with it is an embedding model
_SCORES = "scores"
_MODES = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")


class _Module(msgspec.Struct):
    type: str
    path: str = ""


class _Config(msgspec.Struct):
    is_matryoshka: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pooling:
    """How vectors are made."""

    mode: str  # one of _MODES, or _SCORES
    normalize: bool
    matryoshka: bool = False  # the beginning of a vector is a vector as well
    sizes: tuple[int, ...] = ()  # that it was trained for; empty: any

    @classmethod
    def read(cls, folder: Path) -> Pooling:
        """Read sentence-transformers' files. Raises ModelFolderError, which names the file.

        A folder that has none of them is one of a model that scores pairs.
        """
        if not (folder / MODULES).exists():
            return cls(_SCORES, False)
        modules: list[_Module] = _decode(folder, MODULES, list[_Module])
        kinds = [module.type.rpartition(".")[2] for module in modules]
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise ModelFolderError(f"{MODULES}: {', '.join(kinds)} is not known here")
        file = f"{modules[1].path}/config.json"
        chosen = [
            name.removeprefix("pooling_mode_")
            for name, value in _decode(folder, file, dict[str, Any]).items()
            if name.startswith("pooling_mode_") and value is True
        ]
        if len(chosen) != 1 or chosen[0] not in _MODES:
            raise ModelFolderError(f"{file}: pooling by {', '.join(chosen)} is not known here")
        config: _Config = _decode(folder, "config.json", _Config)
        sizes = config.matryoshka_dimensions
        return cls(chosen[0], len(kinds) == 3, config.is_matryoshka or bool(sizes), sizes)

    @property
    def scores_pairs(self) -> bool:
        """Whether the model reads pairs of texts and gives their scores."""
        return self.mode == _SCORES

    def __call__(self, hidden: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        """Vectors ``[B, H]`` of hidden states ``[B, S, H]``. ``lengths``: tokens of each text."""
        vectors = self._pooled(hidden, lengths)
        return normalized(vectors) if self.normalize else vectors

    def _pooled(self, hidden: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        if self.scores_pairs:
            return hidden
        if self.mode == "cls_token":
            return hidden[:, 0]
        if self.mode == "lasttoken":
            return hidden[np.arange(len(lengths)), lengths - 1]
        inside = (np.arange(hidden.shape[1]) < lengths[:, None])[:, :, None]
        if self.mode == "max_tokens":
            return np.asarray(np.where(inside, hidden, -np.inf).max(axis=1), np.float32)
        total = (hidden * inside).sum(axis=1, dtype=np.float32)
        return np.asarray(total / lengths[:, None], np.float32)


def normalized(vectors: Vectors) -> Vectors:
    """Vectors of length one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _decode(folder: Path, name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelFolderError(f"{folder.name}/{name} cannot be read: {error}") from error
