"""Values of tensors that lie in a file beside their graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import set_external_data

from cupola.cache.convert.formats.external_data import array_of

Array = npt.NDArray[Any]
VALUES = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)


def outside(
    folder: Path, array: np.ndarray, *, name: str = "weights", offset: int = 0
) -> TensorProto:
    """The tensor of ``array``, whose values are written to a file of ``folder``."""
    tensor: TensorProto = numpy_helper.from_array(array, "w")
    raw = tensor.raw_data
    (folder / name).write_bytes(bytes(offset) + raw)
    set_external_data(tensor, name, offset, len(raw))
    tensor.ClearField("raw_data")
    return tensor


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("offset", [0, 5, 4096])
def test_the_values_are_those_that_were_written(tmp_path: Path, dtype: type, offset: int) -> None:
    array: Array = VALUES.astype(dtype)
    found = array_of(outside(tmp_path, array, offset=offset), tmp_path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_two_values_in_a_byte(tmp_path: Path) -> None:
    four_bits = onnx.helper.make_tensor("w", TensorProto.UINT4, (2, 3), [1, 2, 3, 13, 14, 15])
    array = numpy_helper.to_array(four_bits)
    found = array_of(outside(tmp_path, array), tmp_path)
    assert found.astype(int).tolist() == [[1, 2, 3], [13, 14, 15]]


def test_no_values(tmp_path: Path) -> None:
    found = array_of(outside(tmp_path, np.empty((0, 4), np.float32)), tmp_path)
    assert found.shape == (0, 4)


def test_values_in_the_graph_itself(tmp_path: Path) -> None:
    np.testing.assert_array_equal(array_of(numpy_helper.from_array(VALUES), tmp_path), VALUES)


def test_a_file_of_several_names(tmp_path: Path) -> None:
    tensor = outside(tmp_path, VALUES)
    (tmp_path / "copy").hardlink_to(tmp_path / "weights")
    np.testing.assert_array_equal(array_of(tensor, tmp_path), VALUES)


def test_a_link_inside_the_folder(tmp_path: Path) -> None:
    tensor = outside(tmp_path, VALUES, name="blob")
    (tmp_path / "weights").symlink_to("blob")
    tensor.external_data[0].value = "weights"
    np.testing.assert_array_equal(array_of(tensor, tmp_path), VALUES)


@pytest.mark.parametrize("how", ["parent", "absolute", "link"])
def test_a_file_outside_the_folder(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    tensor = outside(tmp_path, VALUES)
    (folder / "link").symlink_to(tmp_path / "weights")
    place = {"parent": "../weights", "absolute": str(tmp_path / "weights"), "link": "link"}[how]
    tensor.external_data[0].value = place
    with pytest.raises(ValueError, match="outside the model's folder"):
        array_of(tensor, folder)


@pytest.mark.parametrize(("offset", "length"), [(1, 48), (0, 49), (-1, 48), (0, -1), (2**62, 48)])
def test_a_place_that_the_file_does_not_have(tmp_path: Path, offset: int, length: int) -> None:
    tensor = outside(tmp_path, VALUES)
    for key, value in (("offset", offset), ("length", length)):
        next(each for each in tensor.external_data if each.key == key).value = str(value)
    with pytest.raises(ValueError, match="behind the end"):
        array_of(tensor, tmp_path)
