"""Finding markers in text that comes in pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def find_first(text: str, markers: Sequence[str]) -> tuple[int, str] | None:
    """Where the first of the markers begins; of two at one place, the longer."""
    found = [(at, -len(marker), marker) for marker in markers if (at := text.find(marker)) >= 0]
    if not found:
        return None
    at, _, marker = min(found)
    return at, marker


def held_back(text: str, markers: Sequence[str]) -> int:
    """How long the longest end of ``text`` is that could be the beginning of a marker."""
    longest = min(len(text), max((len(marker) for marker in markers), default=1) - 1)
    for size in range(longest, 0, -1):
        if any(len(m) > size and m.startswith(text[-size:]) for m in markers):
            return size
    return 0
