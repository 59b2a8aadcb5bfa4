"""How the requests of a soak ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable

import httpx2


class Account:
    """How requests ended, by kind: answered, refused, failed, left (by the client), or broken."""

    def __init__(self) -> None:
        self.ends: dict[str, Counter[str]] = {}
        self.sent = 0
        self.open = 0

    async def watch(self, kind: str, request: Awaitable[str]) -> None:
        """Wait for a request and write down how it ended."""
        self.sent += 1
        self.open += 1
        try:
            end = await request
        except httpx2.HTTPStatusError as error:
            end = "refused" if error.response.status_code < 500 else "failed"
        except (httpx2.HTTPError, OSError):
            end = "broken"
        finally:
            self.open -= 1
        self.ends.setdefault(kind, Counter())[end] += 1

    @property
    def ended(self) -> int:
        return sum(sum(ends.values()) for ends in self.ends.values())

    def count(self, end: str) -> int:
        """How many requests ended so."""
        return sum(ends[end] for ends in self.ends.values())

    def print(self) -> None:
        for kind, ends in sorted(self.ends.items()):
            counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            print(f"  {kind:<12} {sum(ends.values()):>6} requests: {counts}")
