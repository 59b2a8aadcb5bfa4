"""How fast waiting requests are served, and so when a refused one should come again. Pure."""

from __future__ import annotations

import math
from collections import deque

_WINDOW = 64  # starts that count
SHORTEST, LONGEST = 1, 300  # seconds after which a client is told to come again


class ServiceRate:
    """Learns from the starts of requests that had to wait. An idle service has no rate."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=_WINDOW)

    def backlog_begins(self, now: float) -> None:
        """A request must wait, and none did before it."""
        self._starts.clear()
        self._starts.append(now)

    def started(self, now: float) -> None:
        """A request that has waited was given to a worker."""
        self._starts.append(now)

    def seconds_for(self, requests: int, now: float) -> int:
        """In how many whole seconds so many requests will be served."""
        starts = len(self._starts) - 1
        if starts < 1:
            return SHORTEST
        elapsed = max(0.0, now - self._starts[0])
        return min(max(SHORTEST, math.ceil(requests * elapsed / starts)), LONGEST)
