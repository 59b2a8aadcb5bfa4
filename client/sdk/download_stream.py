"""Reads a download's report: lines with percentages, then one JSON object. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from cupola.client.errors import DownloadError

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


class DownloadStream:
    """``take`` the lines one by one, then ask for the ``result``."""

    def __init__(self) -> None:
        self._end = ""

    def take(self, line: str) -> float | None:
        """The percentage in a line, at most 100."""
        if self._end or line.startswith("{"):
            self._end += line
            return None
        found = _PERCENT.search(line)
        return min(float(found[1]), 100.0) if found else None

    def result(self) -> dict[str, Any]:
        """The object at the end. Raises DownloadError when it is missing or reports a failure."""
        try:
            end = json.loads(self._end)
        except ValueError:
            raise DownloadError("The download's report broke off") from None
        if not isinstance(end, dict) or not end.get("success"):
            reason = end.get("errorMessage") if isinstance(end, dict) else None
            raise DownloadError(f"Failed to download model with error: {reason or 'Unknown error'}")
        return end
