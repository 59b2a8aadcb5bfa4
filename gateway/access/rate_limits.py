"""How many requests a key may send, and how many at once. Pure: the time is an argument.

Each gateway process counts by itself and has an equal share of a key's limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cupola.cache.system.api_keys import ApiKey

MINUTE = 60.0
SOON = 1.0  # seconds until one of a key's own requests may have ended


@dataclass(slots=True)
class _Use:
    left: float  # requests that may be sent at once
    at: float  # when ``left`` was so
    open: int = 0


@dataclass(frozen=True, slots=True)
class Excess:
    """Why a request is refused, and when it may come again."""

    text: str
    seconds: float

    @property
    def retry_after(self) -> str:
        return str(max(1, math.ceil(self.seconds)))


class RateLimits:
    """``gateways``: how many processes share the limits."""

    def __init__(self, gateways: int = 1) -> None:
        self._gateways = gateways
        self._uses: dict[str, _Use] = {}

    def begin(self, key: ApiKey, now: float) -> Excess | None:
        """Count a request that is about to be served; or say why it is not."""
        most = self._share(key.per_minute)
        use = self._uses.setdefault(key.name, _Use(most, now))
        use.left = min(most, use.left + (now - use.at) * most / MINUTE)
        use.at = now
        if key.at_once and use.open >= self._share(key.at_once):
            text = f"The key '{key.name}' may have {key.at_once} requests open at once"
            return Excess(text, SOON)
        if key.per_minute:
            if use.left < 1:
                text = f"The key '{key.name}' may send {key.per_minute} requests in a minute"
                return Excess(text, (1 - use.left) * MINUTE / most)
            use.left -= 1
        use.open += 1
        return None

    def end(self, key: ApiKey) -> None:
        """A request that ``begin`` has counted is over."""
        self._uses[key.name].open -= 1

    def _share(self, limit: int) -> int:
        return max(1, math.ceil(limit / self._gateways))
