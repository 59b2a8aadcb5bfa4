"""The processes of a service: their memory, and the processor time that they take."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import psutil


class Processes:
    """By their names: ``gateway``, ``scheduler``, ``worker cpu:0/0``."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in ids.items()}

    @classmethod
    def of(cls, url: str, **others: int) -> Processes:
        """As the service itself tells, and ``others``: their ids by name."""
        told = httpx2.get(f"{url}/ready", timeout=60, trust_env=False).json()["processes"]
        return cls(told | others)

    @property
    def names(self) -> list[str]:
        return list(self._processes)

    def memory_mb(self, name: str) -> float:
        """Its share of the memory (PSS)."""
        return float(self._processes[name].memory_full_info().pss) / 2**20

    def seconds(self) -> dict[str, float]:
        """The processor time of each until now."""
        used = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: times.user + times.system for name, times in used.items()}
