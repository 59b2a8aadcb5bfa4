"""The requests that wait for the scheduler: who gets which answer, and what a silence means.

Pure: it is fed messages and the time, hands answers to the callers' ``deliver``, and returns what
must be sent. Every call ends exactly once: with its last output, with Done, or with RequestFailed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cupola.gateway.http.errors import RequestFailed
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FinishReason,
    LoadModel,
    Output,
    Outputs,
    Rejected,
    Status,
    Submit,
    UnloadModel,
)

PATIENCE = 10.0  # seconds without a word after which the scheduler counts as lost


Asked = Submit | LoadModel | UnloadModel
Reply = Output | Done | RequestFailed
ToSend = Asked | Abort


@dataclass(slots=True, eq=False)
class Call:
    """One request and where its answers go."""

    asked: Asked  # as last sent: a second attempt has another request_id
    deliver: Callable[[Reply], None]
    since: float
    started: bool = False
    attempts: int = 1


class Calls:
    """The open calls of one gateway. ``now`` is the monotonic clock's."""

    def __init__(self, now: float) -> None:
        self.status: Status | None = None
        self.heard_at = now
        self._open: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, asked: Asked, deliver: Callable[[Reply], None], now: float) -> Call:
        """Remember a request that is about to be sent."""
        call = Call(asked, deliver, since=now)
        self._open[asked.request_id] = call
        return call

    def close(self, call: Call) -> list[ToSend]:
        """Nobody waits for ``call`` any more. A call that has ended needs nothing."""
        if self._open.get(call.asked.request_id) is not call:
            return []
        del self._open[call.asked.request_id]
        return [Abort(call.asked.request_id)]

    def fail_all(self, code: ErrorCode, message: str) -> list[ToSend]:
        """End every call, with an error for its caller and an abort for the scheduler."""
        return [self._fail(call, code, message) for call in list(self._open.values())]

    def tick(self, now: float) -> list[ToSend]:
        """End the calls whose scheduler has been silent for too long."""
        if now - self.heard_at <= PATIENCE:
            return []
        text = "the scheduler does not answer; it is being restarted, try again"
        overdue = [call for call in self._open.values() if now - call.since > PATIENCE]
        return [self._fail(call, ErrorCode.SCHEDULER_LOST, text) for call in overdue]

    def receive(self, message: Outputs | Rejected | Done | Status, now: float) -> list[ToSend]:
        """Take in a frame from the scheduler."""
        self.heard_at = now
        match message:
            case Outputs(outputs):
                for output in outputs:
                    self._output(output)
            case Rejected(request_id, code, text, param):
                if call := self._open.pop(request_id, None):
                    call.deliver(RequestFailed(code, text, param))
            case Done(request_id):
                if call := self._open.pop(request_id, None):
                    call.deliver(_end(call, message))
            case Status():
                before, self.status = self.status, message
                if before is not None and before.epoch != message.epoch:
                    return self._start_over()
        return []

    def _output(self, output: Output) -> None:
        call = self._open.get(output.request_id)
        if call is None or not isinstance(call.asked, Submit):
            return  # aborted while this was on its way, or nothing that has outputs
        call.started = True
        if output.finish_reason is FinishReason.ABORT:
            del self._open[output.request_id]
            text = "the service ended this request before its answer was complete"
            call.deliver(RequestFailed(ErrorCode.SHUTTING_DOWN, text))
            return
        if output.last:
            del self._open[output.request_id]
        call.deliver(output)

    def _start_over(self) -> list[ToSend]:
        """A new life of the scheduler knows nothing of the calls made in the last one."""
        sends: list[ToSend] = []
        for call in list(self._open.values()):
            if call.started or call.attempts > 1:
                text = "the scheduler was restarted during this request; send it again"
                sends.append(self._fail(call, ErrorCode.SCHEDULER_LOST, text))
            else:
                sends += self._repeat(call)
        return sends

    def _repeat(self, call: Call) -> list[ToSend]:
        # A frame sent while no scheduler was there may have reached the new one. Under another id,
        # and with the first one aborted, the request cannot run twice.
        first = call.asked.request_id
        del self._open[first]
        call.asked = msgspec.structs.replace(call.asked, request_id=new_request_id())
        call.attempts += 1
        self._open[call.asked.request_id] = call
        return [Abort(first), call.asked]

    def _fail(self, call: Call, code: ErrorCode, message: str) -> Abort:
        del self._open[call.asked.request_id]
        call.deliver(RequestFailed(code, message))
        return Abort(call.asked.request_id)


def _end(call: Call, done: Done) -> Reply:
    if isinstance(call.asked, Submit):
        return RequestFailed(ErrorCode.INTERNAL, "the answer ended without a reason")
    return done


def new_request_id() -> str:
    return uuid.uuid4().hex
