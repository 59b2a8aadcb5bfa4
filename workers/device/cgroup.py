"""What the control group of this process allows: containers and services have such limits (Linux).

The files are those of version 2; with version 1, or on another system, there is no limit here. A
group has the limits of all groups above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cpu_limit(root: Path = ROOT, own: Path = OWN) -> float | None:
    """How many processors' time the group may use; None: all that there is."""
    quotas = []
    for folder in _groups(root, own):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_left(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Bytes that the group can still have; None: as many as there are.

    Files that are cached count as used there, but the system gives them up when it has to.
    """
    left = []
    for folder in _groups(root, own):
        limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")
        if limit.isdecimal() and used.isdecimal():
            left.append(max(0, int(limit) - int(used) + _cached(folder)))
    return min(left, default=None)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's group and of those above it."""
    for line in _read(own).splitlines():
        if line.startswith("0::"):
            folder = root / line.removeprefix("0::").strip().lstrip("/")
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))


def _cached(folder: Path) -> int:
    for line in _read(folder / "memory.stat").splitlines():
        name, _, count = line.partition(" ")
        if name == "inactive_file" and count.isdecimal():
            return int(count)
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
