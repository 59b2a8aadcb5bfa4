"""A model that this machine could never load is refused before any work, with the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.errors import NoMemoryError
from cupola.cache.home import Home
from cupola.cache.install import enough_memory
from cupola.cache.install.enough_memory import need_memory, need_memory_for_weights
from cupola.cache.install.import_path import import_path
from cupola.cache.install.install import install
from cupola.cache.precision import Precision
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("weights", "precision", "memory", "message"),
    [
        (70 * GB, Precision.INT4, 24 * GB, "take 45.5 GB .* has 24.0 GB. Up to 29.5 billion"),
        (30 * GB, Precision.INT8, 32 * GB, "take 33.9 GB .* In four bits they take 19.5 GB, which"),
        (14 * GB, Precision.FP16, 16 * GB, "take 28.0 GB .* add --bits 4"),
        (70 * GB, Precision.INT8, 24 * GB, "take 79.1 GB .* Up to 29.5 billion"),
    ],
)
def test_refused(weights: int, precision: Precision, memory: int, message: str) -> None:
    with pytest.raises(NoMemoryError, match=message):
        need_memory_for_weights("model", weights, precision, memory=memory)


def test_what_fits_is_not_refused() -> None:
    need_memory_for_weights("model", 8 * GB, Precision.INT8, memory=16 * GB)
    need_memory("model", 8 * GB, memory=8 * GB)


def test_a_machine_that_does_not_say_refuses_nothing() -> None:
    need_memory("model", 1000 * GB, memory=0)


@pytest.mark.parametrize("form", ["gguf", "safetensors"])
def test_an_import_ends_before_the_weights_are_read(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = TinyModel().write(tmp_path / "m.gguf")
    if form == "safetensors":
        path = FAMILIES["llama"].write_folder(tmp_path / "model").parent
    monkeypatch.setattr(enough_memory, "memory_bytes", lambda: 1000)
    stages: list[str] = []
    with pytest.raises(NoMemoryError, match="too large for this machine"):
        import_path(path, Home(tmp_path / "home"), None, lambda stage, *_: stages.append(stage))
    assert stages == []


def test_a_model_of_the_catalog_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enough_memory, "memory_bytes", lambda: 8 * GB)
    stages: list[str] = []
    huge = replace(SMOLLM2_135M, id="huge-generic-cpu:1", file_size_mb=20_000)
    with pytest.raises(NoMemoryError, match=r"take 20\.0 GB"):
        install(huge, Home(tmp_path), lambda stage, *_: stages.append(stage))
    assert stages == []
