"""A tiny model that speaks nonsense, and its backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cupola.cache.catalog import WHISPER_TINY_EN
from cupola.cache.convert.whisper.convert_whisper import convert_whisper
from cupola.cache.precision import Precision
from tests.tiny_whisper import write_hugging_face


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows two languages."""
    folder = tmp_path_factory.mktemp("whisper")
    variant = replace(WHISPER_TINY_EN, precision=Precision.FP32)
    convert_whisper(write_hugging_face(folder / "source"), folder / "model", variant)
    return folder / "model"
