"""Limits of control groups, read from files as Linux has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.workers.device.cgroup import cpu_limit, memory_left

GB = 10**9


class Group:
    """A group ``/outer/inner`` and the files of its folders."""

    def __init__(self, folder: Path) -> None:
        self.root, self.own = folder / "cgroup", folder / "own"
        (self.root / "outer" / "inner").mkdir(parents=True)
        self.own.write_text("0::/outer/inner\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text + "\n")

    @property
    def cpus(self) -> float | None:
        return cpu_limit(self.root, self.own)

    @property
    def left(self) -> int | None:
        return memory_left(self.root, self.own)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path)


def test_without_limits_there_are_none(group: Group) -> None:
    assert group.cpus is None
    assert group.left is None
    group.write("outer/cpu.max", "max 100000")
    group.write("outer/memory.max", "max")
    assert group.cpus is None
    assert group.left is None


def test_the_narrowest_limit_of_the_groups_above_counts(group: Group) -> None:
    group.write("outer/inner/cpu.max", "400000 100000")
    group.write("outer/cpu.max", "150000 100000")
    assert group.cpus == 1.5
    for path, limit, used in (("outer/inner", 9, 1), ("outer", 4, 2)):
        group.write(f"{path}/memory.max", str(limit * GB))
        group.write(f"{path}/memory.current", str(used * GB))
    assert group.left == 2 * GB


def test_files_that_are_cached_are_no_use_of_memory(group: Group) -> None:
    group.write("outer/memory.max", str(4 * GB))
    group.write("outer/memory.current", str(4 * GB))
    group.write("outer/memory.stat", f"anon 5\ninactive_file {GB}\nactive_file 7")
    assert group.left == GB


@pytest.mark.parametrize("text", ["", "x", "100000", "100000 0", "-1 5", "\x00"])
def test_files_that_make_no_sense_set_no_limit(group: Group, text: str) -> None:
    group.write("outer/cpu.max", text)
    group.write("outer/memory.max", text)
    assert group.cpus is None
    assert group.left is None


def test_other_systems_have_no_such_files(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path, tmp_path / "none") is None
    assert memory_left(tmp_path, tmp_path / "none") is None
    (tmp_path / "old").write_text("4:memory:/outer\n")
    assert cpu_limit(tmp_path, tmp_path / "old") is None
