"""What the gateways are told of the service: when they ask, and when it has changed. Pure."""

from __future__ import annotations

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.protocol.messages import Status
from cupola.scheduler.state.records import Send
from cupola.scheduler.state.state import State


class StatusReport:
    def __init__(self, state: State, suspicion: Suspicion, epoch: str, pid: int) -> None:
        """``epoch``: which scheduler says so; ``pid``: of its process."""
        self._state = state
        self._suspicion = suspicion
        self._epoch = epoch
        self._pid = pid
        self._has_changed = False  # since the gateways were last told

    def changed(self) -> None:
        """The gateways must be told. Of numbers they are not: they ask for them."""
        self._has_changed = True

    def news(self, now: float) -> list[Send]:
        """A Status for every gateway, if something has changed since the last one."""
        if not self._has_changed:
            return []
        self._has_changed = False
        status = self.status(now)
        return [Send(gateway, status) for gateway in self._state.gateways]

    def status(self, now: float, answers: int = 0) -> Status:
        """``answers``: the number of the gateway's Query; 0: it is sent unasked."""
        workers, account = self._state.workers, self._state.account
        return Status(
            epoch=self._epoch,
            pid=self._pid,
            queued=len(self._state.requests.waiting) + len(workers.postponed()),
            workers=workers.statuses(),
            missing=workers.missing(),
            stopped=tuple(sorted(workers.stopped)),
            totals=account.totals,
            http=account.http,
            distributions=self._state.measurements.distributions,
            oldest_seconds=self._oldest_seconds(now),
            answers=answers,
            refused=dict(self._suspicion.models.refused(now)),
            gateways=self._state.gateways.pids,
        )

    def _oldest_seconds(self, now: float) -> float:
        """How long the request has waited that has waited longest."""
        since = self._state.requests.waiting.oldest_since
        return 0.0 if since is None else max(0.0, now - since)
