"""Pages of mapped files: their memory is given back, and what they hold is not lost."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from cupola.workers.device.mapped_files import drop_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of mappings")

SIZE = 256 * mmap.PAGESIZE


def mapped(path: Path) -> mmap.mmap:
    """A file, mapped as onnxruntime maps weights."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights!" * (SIZE // 8))
    with path.open("rb") as file:
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(file.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=protection)


def test_pages_are_given_back_and_read_again(tmp_path: Path) -> None:
    weights = mapped(tmp_path / "model" / "model.onnx.data")
    content = bytes(weights)
    assert drop_pages(tmp_path / "model") == SIZE
    assert drop_pages(tmp_path / "model") == 0  # none is in memory
    assert bytes(weights) == content
    assert drop_pages(tmp_path / "model") == SIZE


def test_what_was_written_is_not_lost(tmp_path: Path) -> None:
    weights = mapped(tmp_path / "model" / "model.onnx.data")
    weights[:7] = b"changed"
    assert drop_pages(tmp_path / "model") == 0
    assert weights[:7] == b"changed"


def test_other_folders_keep_their_pages(tmp_path: Path) -> None:
    weights = mapped(tmp_path / "model-2" / "model.onnx.data")
    assert bytes(weights)
    assert drop_pages(tmp_path / "model") == 0
    assert drop_pages(tmp_path / "model-2") == SIZE


def test_a_folder_is_found_behind_a_link(tmp_path: Path) -> None:
    weights = mapped(tmp_path / "model" / "model.onnx.data")
    assert bytes(weights)
    (tmp_path / "link").symlink_to("model")
    assert drop_pages(tmp_path / "link") == SIZE


def test_a_deleted_file_is_still_mapped(tmp_path: Path) -> None:
    weights = mapped(tmp_path / "model" / "model.onnx.data")
    content = bytes(weights)
    (tmp_path / "model" / "model.onnx.data").unlink()
    assert drop_pages(tmp_path / "model") == SIZE
    assert bytes(weights) == content
