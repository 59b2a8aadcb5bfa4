"""How long to wait so that a download stays below a rate. Pure: the time goes in."""

from __future__ import annotations

_BURST = 0.25  # seconds' worth of bytes that may come at once


class RateLimit:
    """For all connections of a download together. ``rate``: bytes a second; 0: no limit."""

    def __init__(self, rate: float = 0.0) -> None:
        self._rate = rate
        self._paid_until = 0.0  # the bytes so far are paid for until then

    def wait(self, count: int, now: float) -> float:
        """``count`` bytes have come: seconds until the next are to be read."""
        if not self._rate:
            return 0.0
        self._paid_until = max(self._paid_until, now - _BURST) + count / self._rate
        return max(0.0, self._paid_until - now)
