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
