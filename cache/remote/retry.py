"""Which failures of a request are worth another try, and how long to wait before it. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

ATTEMPTS = 6  # in a row that brought nothing; each byte that arrives begins the count again
LONGEST_WAIT = 120.0  # seconds; a server that wants more is asked another day
_FIRST_WAIT = 0.5
_LONGEST_OWN_WAIT = 20.0


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in (408, 425, 429) or (500 <= status < 600 and status != 501)


def wait_seconds(
    attempt: int, headers: Mapping[str, str], now: datetime, chance: float | None = None
) -> float:
    """Seconds before the next try. ``attempt`` counts from 1.

    A server that says how long gets that time. Otherwise the time doubles with each attempt, and
    ``chance`` (0 to 1, random without) spreads clients that failed together.
    """
    if (asked := retry_after(headers, now)) is not None:
        return asked
    bound = min(_LONGEST_OWN_WAIT, _FIRST_WAIT * 2.0 ** (attempt - 1))
    return bound * (0.5 + (random.random() if chance is None else chance) / 2)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The header of RFC 9110, seconds or a date, in seconds from ``now``."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):  # a date without a zone cannot be subtracted
        return None
