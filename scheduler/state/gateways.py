"""The gateways that are there, and how long each may be silent. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Peer


class Gateways:
    """By ZeroMQ identity. A gateway is there from its first message on."""

    def __init__(self, policy: SchedulerPolicy) -> None:
        self._lease = policy.lease
        self._lease_ends: dict[Peer, float] = {}
        self._pids: dict[Peer, int] = {}  # of those that have told theirs

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._lease_ends)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids that are known, sorted."""
        return tuple(sorted(filter(None, self._pids.values())))

    def heard(self, gateway: Peer, now: float) -> None:
        """Something came from it: its lease begins anew."""
        self._lease_ends[gateway] = now + self._lease

    def tells_pid(self, gateway: Peer, pid: int) -> None:
        """``pid``: 0: it does not say."""
        self._pids[gateway] = pid

    def remove(self, gateway: Peer) -> None:
        """Unknown ones are ignored."""
        self._lease_ends.pop(gateway, None)
        self._pids.pop(gateway, None)

    def expired(self, now: float) -> list[Peer]:
        """The gateways that have been silent for too long. They stay until removed."""
        return [gateway for gateway, end in self._lease_ends.items() if end <= now]

    def deadlines(self) -> list[float]:
        """When the gateways expire."""
        return list(self._lease_ends.values())
