"""How fast a stage goes, and how long it will still take. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_WINDOW = 8.0  # seconds: a rate that follows the network, and does not jump with each block


class Speed(NamedTuple):
    """Bytes a second, and seconds to go; None: not known yet."""

    rate: float | None = None
    left: float | None = None


class Pace:
    """``at`` takes each report of one job, in the order of time."""

    def __init__(self) -> None:
        self._stage = ""
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, stage: str, done: int, total: int | None, now: float) -> Speed:
        # A file that is begun again has fewer bytes than before.
        if stage != self._stage or (self._seen and done < self._seen[-1][1]):
            self._stage = stage
            self._seen.clear()
        if not self._seen or now - self._seen[-1][0] >= 0.1 or done == total:
            self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] < now - _WINDOW:
            self._seen.popleft()
        since, first = self._seen[0]
        seconds = now - since
        if seconds < 0.5 or done <= first:
            return Speed()
        rate = (done - first) / seconds
        return Speed(rate, None if total is None else max(0.0, (total - done) / rate))
