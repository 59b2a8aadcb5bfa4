"""A model's folder as a worker sees it: ``genai_config.json`` and the files it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ModelFolderError(ValueError):
    """The folder does not hold a model that can be loaded; the text names the file."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    path: Path
    context: int  # tokens of prompt and answer together
    end_tokens: frozenset[int]
    head_size: int  # of keys and values; 0: the graph says it

    @classmethod
    def read(cls, path: Path, context_limit: int = 0) -> ModelFolder:
        """``context_limit``: 0, or a cap on the model's context. Raises ModelFolderError."""
        model = _model_config(path / "genai_config.json")
        context = model.get("context_length")
        if not isinstance(context, int) or context < 1:
            raise ModelFolderError(
                f"{path.name}/genai_config.json: model.context_length is missing"
            )
        end = model.get("eos_token_id", [])
        ends = frozenset(end if isinstance(end, list) else [end])
        head_size = model.get("decoder", {}).get("head_size", 0)
        return cls(path, min(context, context_limit or context), ends, head_size)


def _model_config(file: Path) -> dict[str, Any]:
    name = f"{file.parent.name}/{file.name}"
    try:
        model = json.loads(file.read_text("utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{name} cannot be read: {error}") from error
    if not isinstance(model, dict):
        raise ModelFolderError(f"{name}: 'model' is not an object")
    return model
