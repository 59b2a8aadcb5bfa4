"""Folders that look like models, in a data folder, for tests that read no weights."""

from __future__ import annotations

from pathlib import Path

from cupola.cache.home import Home
from cupola.cache.system.digests import write_model_digests


def made(home: Home, name: str, size: int = 1000, *, digests: bool = False) -> Path:
    """A model of ``size`` bytes of weights, called ``name``:1."""
    path = home.models / "maker" / f"{name}-1"
    path.mkdir(parents=True)
    (path / "genai_config.json").write_text('{"model": {"type": "llama", "context_length": 64}}')
    (path / "inference_model.json").write_text(f'{{"Name": "{name}:1"}}')
    (path / "model.onnx").write_bytes(bytes(size))
    if digests:
        write_model_digests(path)
    return path


def derived(home: Home, model: Path, size: int = 500, name: str = "0123456789abcdef") -> Path:
    """An entry of weights that workers map."""
    entry = home.prepacked_folder(model) / name
    entry.mkdir(parents=True)
    (entry / "weights.bin").write_bytes(bytes(size))
    (entry / "files.json").write_text("{}")
    return entry
