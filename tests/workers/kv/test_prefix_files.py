"""Blocks on the disk: whole or absent, private, and within their limit."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.kv.prefix_files import PrefixFiles, next_digest, root_digest

SIZE = 1000
LARGE = 10**9


def block(number: int) -> np.ndarray:
    return np.full((10, SIZE // 40), number, np.float32)


def digest(number: int, salt: str = "") -> bytes:
    return next_digest(root_digest(salt), [number])


def files_with(folder: Path, numbers: range, max_bytes: int = LARGE) -> PrefixFiles:
    files = PrefixFiles(folder, "key", max_bytes)
    for number in numbers:
        assert files.put(digest(number), block(number))
    files.close(60)
    return files


def found(files: PrefixFiles, number: int) -> bool:
    """Whether the block is there; then it is what was written."""
    into = np.zeros_like(block(0))
    there = files.get(digest(number), into)
    assert not there or (into == block(number)).all()
    assert files.has(digest(number)) or not there
    return there


def paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_blocks_are_there_for_the_next_process(tmp_path: Path) -> None:
    files_with(tmp_path, range(5))
    again = PrefixFiles(tmp_path, "key", LARGE)
    assert all(found(again, number) for number in range(5))
    assert not found(again, 5)
    assert len(paths(tmp_path)) == 5
    assert again.total == sum(path.stat().st_size for path in paths(tmp_path))


def test_another_key_and_another_salt_find_nothing(tmp_path: Path) -> None:
    files_with(tmp_path, range(5))
    other = PrefixFiles(tmp_path, "other", LARGE)
    assert not any(found(other, number) for number in range(5))
    assert not PrefixFiles(tmp_path, "key", LARGE).has(digest(1, "salt"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_nobody_else_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "prefixes"
    before = os.umask(0)
    try:
        files_with(folder, range(2))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths(folder)} == {0o600}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
        lambda data: b"x" + data[1:],
        lambda data: b"",
    ],
    ids=["short", "long", "changed", "no magic", "empty"],
)
def test_a_damaged_file_is_absent_and_written_again(tmp_path: Path, damage) -> None:
    files = files_with(tmp_path, range(1))
    (path,) = paths(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert not found(files, 0)
    assert not paths(tmp_path)
    again = files_with(tmp_path, range(1))
    assert found(again, 0)


def test_a_file_that_another_process_has_deleted_is_absent(tmp_path: Path) -> None:
    files = files_with(tmp_path, range(1))
    paths(tmp_path)[0].unlink()
    assert not found(files, 0)
    assert not files.has(digest(0))


def test_the_limit_is_kept_and_what_was_used_stays(tmp_path: Path) -> None:
    files_with(tmp_path, range(10))
    size = paths(tmp_path)[0].stat().st_size
    for age, path in enumerate(paths(tmp_path)):
        os.utime(path, (1000 + age, 1000 + age))
    files = PrefixFiles(tmp_path, "key", 10 * size)
    oldest = next(n for n in range(10) if paths(tmp_path)[0].name == digest(n).hex())
    assert found(files, oldest)  # it is the newest now
    files_with(tmp_path, range(10, 12), 10 * size)
    left = paths(tmp_path)
    assert sum(path.stat().st_size for path in left) <= 10 * size
    assert len(left) >= 9
    assert digest(oldest).hex() in {path.name for path in left}


def test_a_folder_of_another_model_counts(tmp_path: Path) -> None:
    files_with(tmp_path, range(10))
    size = paths(tmp_path)[0].stat().st_size
    PrefixFiles(tmp_path, "other", 5 * size)
    assert len(paths(tmp_path)) <= 5


def test_what_a_killed_process_has_left_goes(tmp_path: Path) -> None:
    files_with(tmp_path, range(1))
    for name, age in (("old", 1000), ("new", None)):
        part = tmp_path / "key" / f"{name}.part"
        part.write_bytes(b"half")
        if age is not None:
            os.utime(part, (age, age))
    PrefixFiles(tmp_path, "key", LARGE)
    assert [path.name for path in paths(tmp_path)] == sorted([digest(0).hex(), "new.part"])


def test_what_cannot_be_written_is_absent(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path, "key", LARGE)
    (tmp_path / "key").rmdir()
    files.put(digest(1), block(1))
    files.close(60)
    assert not files.has(digest(1))


@given(st.lists(st.lists(st.integers(0, 2**40), min_size=1, max_size=3), min_size=1, max_size=4))
def test_digests_tell_chains_and_salts_apart(chain: list[list[int]]) -> None:
    def last(salt: str, blocks: list[list[int]]) -> bytes:
        name = root_digest(salt)
        for tokens in blocks:
            name = next_digest(name, tokens)
        return name

    other = [*chain[:-1], [chain[-1][0] + 1, *chain[-1][1:]]]
    assert last("", chain) == last("", [list(tokens) for tokens in chain])
    assert len({last("", chain), last("a", chain), last("", other), last("", chain[:-1])}) == 4
