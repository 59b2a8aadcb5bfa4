"""A sequence as the plan sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Waiting:
    name: str
    pending: int
    client: str = ""
    rank: int = 0
    to_read: int = 0
    patient: bool = False  # its next token may wait

    @property
    def generates(self) -> bool:
        return self.pending == 1 and not self.patient
