"""How many lines of one kind a log takes: many at once, and fewer in the long run. Pure."""

from __future__ import annotations

BURST = 200.0  # lines of one kind at once
LINES_PER_SECOND = 50.0  # of one kind, in the long run


class LineRate:
    """``now`` is in seconds of a clock that does not go back."""

    __slots__ = ("_at", "_left", "_left_out")

    def __init__(self, now: float) -> None:
        self._left = BURST
        self._at = now  # when ``_left`` was so
        self._left_out = 0

    def takes(self, now: float, cost: float = 1.0) -> bool:
        """Whether the log takes a line that counts as ``cost``. One that it does not is counted."""
        self._left = min(BURST, self._left + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._left < cost:
            self._left_out += 1
            return False
        self._left -= cost
        return True

    def is_full(self, cost: float = 1.0) -> bool:
        """Whether a further line would be left out now."""
        return self._left < cost

    def left_out(self) -> str:
        """Says how many lines there were since the last call that the log did not take."""
        count, self._left_out = self._left_out, 0
        return f"{count} lines like this were left out" if count else ""
