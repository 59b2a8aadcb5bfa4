"""Times as JSON has them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(when: datetime | float) -> str:
    """``when``: with its time zone, or as Unix seconds."""
    if not isinstance(when, datetime):
        when = datetime.fromtimestamp(when, UTC)
    return when.isoformat().replace("+00:00", "Z")
