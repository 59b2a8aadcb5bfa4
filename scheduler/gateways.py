"""The gateways that are there, and how long each may be silent. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cupola.scheduler.records import Peer


class Gateways:
    """By ZeroMQ identity. Any message renews a gateway's lease, as its regular ``Query`` does."""

    def __init__(self, lease: float) -> None:
        """``lease``: seconds."""
        self._lease = lease
        self._lease_ends: dict[Peer, float] = {}
        self._pids: dict[Peer, int] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._lease_ends)

    def heard(self, gateway: Peer, now: float) -> None:
        """It sent a message."""
        self._lease_ends[gateway] = now + self._lease

    def told(self, gateway: Peer, pid: int) -> None:
        """It said which process it is; 0: it did not."""
        self._pids[gateway] = pid

    def forget(self, gateway: Peer) -> None:
        """It is gone."""
        self._lease_ends.pop(gateway, None)
        self._pids.pop(gateway, None)

    def expired(self, now: float) -> list[Peer]:
        """Those that were silent for too long."""
        return [gateway for gateway, end in self._lease_ends.items() if end <= now]

    def next_deadline(self) -> float | None:
        """When the next of them will have been silent for too long."""
        return min(self._lease_ends.values(), default=None)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of those that told theirs."""
        return tuple(sorted(filter(None, self._pids.values())))
