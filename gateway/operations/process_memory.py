"""The memory of the service's processes, as Linux tells it. Other systems have no such files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ProcessMemory(NamedTuple):
    """In bytes. ``proportional``: pages that several processes share count in parts (PSS)."""

    resident: int
    proportional: int


def memory_of(processes: Mapping[str, int], root: Path = Path("/proc")) -> dict[str, ProcessMemory]:
    """By the names of the processes, whose ids are given. What has ended is left out.

    It takes a millisecond for each: call it in a thread.
    """
    found = ((name, _memory(root / str(pid))) for name, pid in processes.items())
    return {name: memory for name, memory in found if memory is not None}


def _memory(process: Path) -> ProcessMemory | None:
    try:
        resident = int((process / "statm").read_text().split()[1]) * _PAGE
        lines = (process / "smaps_rollup").read_text().splitlines()
    except (OSError, IndexError, ValueError):
        return None
    shares = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return ProcessMemory(resident, 1024 * sum(shares))
