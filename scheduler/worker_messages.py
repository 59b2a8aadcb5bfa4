"""What follows from a message of a worker. Pure."""

from __future__ import annotations

from cupola.scheduler.endings import Endings
from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.losses import Losses
from cupola.scheduler.placement.dispatch import Dispatch
from cupola.scheduler.placement.drains import Drains
from cupola.scheduler.placement.replicas import Replicas
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    FromWorker,
    Goodbye,
    Heartbeat,
    Outcome,
    Outputs,
    Postponed,
    Ready,
    Rejected,
    Rejoin,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.state.records import Peer, Send
from cupola.scheduler.state.state import State
from cupola.scheduler.state.totals import outcome_of
from cupola.scheduler.status_report import StatusReport


class WorkerMessages:
    """Knows what each kind of message of a worker changes, and what is sent for it."""

    def __init__(
        self,
        state: State,
        suspicion: Suspicion,
        dispatch: Dispatch,
        drains: Drains,
        replicas: Replicas,
        endings: Endings,
        losses: Losses,
        report: StatusReport,
    ) -> None:
        self._state = state
        self._suspicion = suspicion
        self._dispatch = dispatch
        self._drains = drains
        self._replicas = replicas
        self._endings = endings
        self._losses = losses
        self._report = report

    def handle(self, peer: Peer, message: FromWorker, now: float) -> list[Send]:
        match message:
            case Outputs():
                return self._on_outputs(peer, message, now)
            case Done() | Rejected():
                return self._on_end(peer, message, now)
            case Heartbeat():
                return self._on_heartbeat(peer, message)
            case Postponed():
                return self._on_postponed(peer, message)
            case Ready():
                return self._on_ready(peer, message, now)
            case Goodbye():
                return self._on_goodbye(peer, now)

    def _on_outputs(self, peer: Peer, message: Outputs, now: float) -> list[Send]:
        requests, measurements = self._state.requests, self._state.measurements
        measurements.step(len({output.request_id for output in message.outputs}))
        by_gateway: dict[Peer, list[Output]] = {}
        for output in message.outputs:
            self._state.account.told(output)
            request = requests.running_on(peer, output.request_id)
            if request is None or output.finish_reason is FinishReason.ABORT:
                continue  # aborted, or a late frame from a worker that was given up
            self._dispatch.served(request, output)
            measurements.output(request, output, now)
            if output.progress is None:  # a prompt that is being read may run elsewhere
                request.started = True
            request.suspect = False
            if output.last:
                self._endings.end(request, Outcome.ANSWERED)
            by_gateway.setdefault(request.gateway, []).append(output)
        return [Send(gateway, Outputs(tuple(outputs))) for gateway, outputs in by_gateway.items()]

    def _on_end(self, peer: Peer, message: Done | Rejected, now: float) -> list[Send]:
        unloads = self._state.unloads
        if message.request_id in unloads:
            gateway = unloads.confirm(message.request_id, peer)
            return [Send(gateway, Done(message.request_id))] if gateway else []
        if self._drains.ended(message.request_id):
            return []
        if self._replicas.ended(message.request_id, isinstance(message, Rejected), now):
            return []
        request = self._state.requests.running_on(peer, message.request_id)
        if request is None:
            return []
        sends = [Send(request.gateway, message)]
        if not isinstance(message, Rejected) or message.code is not ErrorCode.MODEL_LOAD_FAILED:
            self._endings.end(request, _outcome(message))
            return sends
        # First, while all that wait for the model are still on the worker.
        self._suspicion.load_failed(request, message.message, now)
        self._report.changed()
        self._endings.end(request, _outcome(message))
        return sends + self._endings.refused(now)

    def _on_heartbeat(self, peer: Peer, message: Heartbeat) -> list[Send]:
        worker = self._state.workers.get(peer)
        if worker is None:
            return [Send(peer, Rejoin())]
        resident_before = worker.resident
        worker.update(message)
        if message.beginnings is not None:
            self._dispatch.affinity.told(message.beginnings, peer)
        self._state.account.resident(resident_before, worker.resident)
        self._state.account.evicted(message.evicted)
        self._suspicion.models.forget(worker.resident)
        if worker.resident != resident_before:
            self._report.changed()
        return []

    def _on_postponed(self, peer: Peer, message: Postponed) -> list[Send]:
        if worker := self._state.workers.get(peer):
            self._state.requests.postpone(worker, message.request_ids)
        return []

    def _on_ready(self, peer: Peer, message: Ready, now: float) -> list[Send]:
        workers = self._state.workers
        if peer in workers:
            # Each of several heartbeats had it asked to rejoin. All that came before what was
            # sent to it since, so it runs that.
            return []
        self._suspicion.worker_joined(peer, message.name, now)
        sends = self._losses.workers_died(workers.named(message.name), now)
        workers.join(peer, message, now)
        self._state.account.joined(message.name, message.resident)
        self._suspicion.models.forget(message.resident)
        self._suspicion.loads_killed(message.fatal, now)
        self._report.changed()
        return sends

    def _on_goodbye(self, peer: Peer, now: float) -> list[Send]:
        worker = self._state.workers.get(peer)
        return [] if worker is None else self._losses.workers_left([worker], now)


def _outcome(end: Done | Rejected) -> Outcome:
    return outcome_of(end.code) if isinstance(end, Rejected) else Outcome.ANSWERED
