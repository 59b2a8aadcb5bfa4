"""What follows from a message of a gateway. Pure."""

from __future__ import annotations

from itertools import count

from cupola.scheduler.endings import Endings
from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.intake import Intake
from cupola.scheduler.placement.drains import Drains
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    FromGateway,
    LoadModel,
    Query,
    Submit,
    UnloadModel,
)
from cupola.scheduler.state.records import Peer, Request, Send
from cupola.scheduler.state.state import State
from cupola.scheduler.status_report import StatusReport


class GatewayMessages:
    """Knows what each kind of message of a gateway changes, and what is sent for it."""

    def __init__(
        self,
        state: State,
        suspicion: Suspicion,
        intake: Intake,
        endings: Endings,
        drains: Drains,
        report: StatusReport,
    ) -> None:
        self._state = state
        self._suspicion = suspicion
        self._intake = intake
        self._endings = endings
        self._drains = drains
        self._report = report
        self._arrivals = count()

    def handle(self, peer: Peer, message: FromGateway, now: float) -> list[Send]:
        match message:
            case Submit() | LoadModel():
                return self._on_submit(peer, message, now)
            case UnloadModel():
                return self._on_unload(peer, message)
            case Abort():
                return self._on_abort(peer, message)
            case Query():
                return self._on_query(peer, message, now)

    def _on_submit(self, peer: Peer, message: Submit | LoadModel, now: float) -> list[Send]:
        requests = self._state.requests
        if message.request_id in requests:
            return []  # it was sent twice: the first one counts
        timeout = message.turn.timeout if isinstance(message, Submit) else None
        deadline = self._intake.deadline(timeout, now)
        request = Request(peer, message, next(self._arrivals), now, deadline)
        if (refusal := self._intake.refusal(request, now)) is not None:
            return [self._endings.turn_away(peer, message, refusal)]
        requests.add(request, now)
        self._drains.asked_for(message.model)
        return []

    def _on_unload(self, peer: Peer, message: UnloadModel) -> list[Send]:
        if message.force:
            self._suspicion.models.forget([message.model_id])
        holders = sorted(worker.peer for worker in self._state.workers.holding(message.model_id))
        if not holders:
            return [Send(peer, Done(message.request_id))]
        self._state.unloads.start(message.request_id, peer, holders)
        return [Send(holder, message) for holder in holders]

    def _on_abort(self, peer: Peer, message: Abort) -> list[Send]:
        request = self._state.requests.get(message.request_id)
        if request is None or request.gateway != peer:
            return []
        return self._endings.abort(request, message.counts_as)

    def _on_query(self, peer: Peer, message: Query, now: float) -> list[Send]:
        account = self._state.account
        for outcome, requests in message.ended.items():
            account.ended(outcome, requests)
        account.answered_http(message.http)
        self._state.gateways.tells_pid(peer, message.pid)
        return [Send(peer, self._report.status(now, answers=message.number))]
