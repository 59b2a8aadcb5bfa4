"""Damage to any file that a manifest lists is found, wherever it is and whatever its kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola.cache.system import digests
from cupola.cache.system.digests import (
    EDITED,
    MANIFEST,
    DamagedFileError,
    check_digests,
    write_digests,
    write_model_digests,
)

SIZES = (0, 1, 99, 100, 101, 200, 350)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "BLOCK", 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for size in SIZES:
        (tmp_path / f"{size}.bin").write_bytes(os.urandom(size))
    (tmp_path / "pooling").mkdir()
    (tmp_path / "pooling" / "weights.bin").write_bytes(b"x" * 250)
    write_model_digests(tmp_path)
    return tmp_path


def test_a_folder_is_as_it_was(folder: Path) -> None:
    assert check_digests(folder)


def test_a_folder_without_a_manifest_is_not_compared(tmp_path: Path) -> None:
    assert not check_digests(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_bit_is_found(folder: Path, data: st.DataObject) -> None:
    names = [f"{size}.bin" for size in SIZES if size] + ["pooling/weights.bin"]
    name = data.draw(st.sampled_from(names))
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        (folder / name).write_bytes(changed)
        start = at // 100 * 100
        with pytest.raises(DamagedFileError, match=f"{name} is damaged: bytes {start} to "):
            check_digests(folder)
    finally:
        (folder / name).write_bytes(whole)
    assert check_digests(folder)


@pytest.mark.parametrize("size", [0, 100, 349, 351])
def test_another_size_is_named(folder: Path, size: int) -> None:
    (folder / "350.bin").write_bytes(b"x" * size)
    with pytest.raises(DamagedFileError, match=f"350.bin is damaged: it has {size} bytes"):
        check_digests(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "99.bin").unlink()
    with pytest.raises(DamagedFileError, match=r"99\.bin is missing"):
        check_digests(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"files": {}, "block": 0}',
        b'{"files": {"350.bin": {"size": 350, "blocks": []}}, "block": 100}',
        b'{"files": {"0.bin": {"size": 0, "blocks": [1]}}, "block": 100}',
    ],
)
def test_a_damaged_manifest_is_no_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(DamagedFileError, match="is damaged"):
        check_digests(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_a_manifest_names_no_file_outside(folder: Path, name: str) -> None:
    (folder / MANIFEST).write_text(f'{{"files": {{"{name}": {{"size": 1, "blocks": [1]}}}}}}')
    with pytest.raises(DamagedFileError, match=f"{MANIFEST} is damaged"):
        check_digests(folder)


def test_files_that_people_edit_are_not_listed(folder: Path) -> None:
    for name in EDITED:
        (folder / name).write_text("{}")
    write_model_digests(folder)
    for name in EDITED:
        (folder / name).write_text('{"edited": true}')
    assert check_digests(folder)


def test_a_manifest_of_another_block_size_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digests(folder, ["350.bin"], "other.json")
    monkeypatch.setattr(digests, "BLOCK", 64)
    assert check_digests(folder, "other.json")
