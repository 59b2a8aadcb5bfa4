"""All that the scheduler knows, but for whom it suspects. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.scheduler.state.gateways import Gateways
from cupola.scheduler.state.measurements import Measurements
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.requests import Requests
from cupola.scheduler.state.totals import Account
from cupola.scheduler.state.unloads import Unloads
from cupola.scheduler.state.workers import Workers
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.token_counters import TokenCounters


@dataclass(frozen=True, slots=True)
class State:
    """Keeps its parts together; what changes them is decided elsewhere."""

    requests: Requests
    workers: Workers
    gateways: Gateways
    unloads: Unloads
    account: Account
    measurements: Measurements

    @classmethod
    def begin(cls, policy: SchedulerPolicy, counters: TokenCounters) -> State:
        """``counters``: what each client has been served."""
        return cls(
            Requests(WaitingQueue(counters)),
            Workers(policy),
            Gateways(policy),
            Unloads(),
            Account(),
            Measurements(),
        )
