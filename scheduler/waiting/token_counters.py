"""What each client has been served, in tokens. Pure.

The client that has been served least comes next: the virtual token counter of Sheng et al.,
"Fairness in Serving Large Language Models" (2024, arXiv 2401.00588). A token that is generated
counts twice as much as a token of a prompt, which is about what it costs. A client that comes back
begins where the service is now, so nobody can save up while others are served. Where that is, is
taken from start-time fair queueing (Goyal et al., 1996): the counter of the client that was served
last. So nothing here depends on how many clients there are.
"""

from __future__ import annotations

PROMPT, GENERATED = 1.0, 2.0  # weights of tokens
MAX_CLIENTS = 10_000  # that are remembered at once


class TokenCounters:
    """By client. The counter of a client never falls."""

    def __init__(self, max_clients: int = MAX_CLIENTS) -> None:
        self._max_clients = max_clients
        self._served: dict[str, float] = {}
        self._credit: dict[str, float] = {}  # what was charged in advance and not used
        self._floor = 0.0

    def __len__(self) -> int:
        return len(self._served)

    def of(self, client: str) -> float:
        return self._served.get(client, self._floor)

    def arrives(self, client: str) -> None:
        """It waits for service, and did not wait until now."""
        self._served[client] = max(self.of(client), self._floor)
        if len(self._served) > self._max_clients:
            self._forget()

    def is_next(self, client: str) -> None:
        """It has been chosen for service."""
        self._floor = max(self._floor, self.of(client))

    def charge(self, client: str, *, prompt: int = 0, generated: int = 0) -> None:
        """It is served these tokens. A negative number takes back what was charged too much."""
        cost = prompt * PROMPT + generated * GENERATED - self._credit.pop(client, 0.0)
        if cost < 0:
            self._credit[client] = -cost
        else:
            self._served[client] = self.of(client) + cost

    def _forget(self) -> None:
        """Keep those who were served most: only they would gain if they were forgotten."""
        ahead = sorted(((served, c) for c, served in self._served.items() if served > self._floor))
        kept = ahead[-(self._max_clients // 2) :]
        self._served = {client: served for served, client in kept}
        self._credit = {c: left for c, left in self._credit.items() if c in self._served}
