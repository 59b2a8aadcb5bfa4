"""Tensors are read as float32; damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.errors import BrokenFileError, UnsupportedError
from tests.tiny_encoder import safetensors, tensors


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    value = np.array([1.5, -2.0, 0.25], np.float32)
    file = tmp_path / "f.safetensors"
    file.write_bytes(safetensors({"a": value.astype(np.float16)}, "F16"))
    assert SafetensorsFile(file).tensor("a", (3,)).tolist() == value.tolist()
    bits = (value.view(np.uint32) >> 16).astype(np.uint16)
    file.write_bytes(safetensors({"a": bits}, "BF16"))
    assert SafetensorsFile(file).tensor("a", (3,)).tolist() == value.tolist()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = safetensors(tensors())
    file = tmp_path / "f.safetensors"
    for content in (
        b"",
        whole[:4],
        whole[:100],
        b"\xff" * 8 + whole[8:],
        (20).to_bytes(8, "little") + whole[8:],
        whole[:-4],
    ):
        file.write_bytes(content)
        with pytest.raises(BrokenFileError):
            source = SafetensorsFile(file)
            for name, value in tensors().items():
                source.tensor(name, value.shape)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    file.write_bytes(safetensors({"a": np.zeros((2, 3), np.float32)}))
    with pytest.raises(BrokenFileError, match="a is"):
        SafetensorsFile(file).tensor("a", (3, 2))


def test_values_of_other_types_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    file.write_bytes(safetensors({"a": np.zeros(3, np.int32)}, "I32"))
    with pytest.raises(UnsupportedError, match="a is of the unknown type I32"):
        SafetensorsFile(file).tensor("a", (3,))
