"""The calls to the scheduler that have not ended: which answer belongs to which call.

Pure: it takes messages and the time, hands answers to each call's ``deliver``, and returns what
must be sent. Every call ends exactly once: with its last output, with Done, or with RequestFailed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

import msgspec

from cupola.gateway.http.errors import RequestFailed
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FromGateway,
    LoadModel,
    Outcome,
    Outputs,
    Rejected,
    Status,
    Submit,
    UnloadModel,
)
from cupola.scheduler.protocol.outputs import Output

SCHEDULER_TIMEOUT = 10.0  # seconds without a frame after which the scheduler counts as lost

CallMessage = Submit | LoadModel | UnloadModel
Reply = Output | Done | RequestFailed


@dataclass(slots=True, eq=False)
class Call:
    """One request of the gateway, and where its answers go."""

    message: CallMessage  # as last sent: a second attempt has another request_id
    deliver: Callable[[Reply], None]
    opened_at: float
    started: bool = False  # there was output, so it cannot be repeated
    attempts: int = 1


class Calls:
    """The open calls of one gateway. ``now`` is in seconds of the monotonic clock."""

    def __init__(self, now: float) -> None:
        self.status: Status | None = None
        self.heard_at = now
        self._open: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, message: CallMessage, deliver: Callable[[Reply], None], now: float) -> Call:
        """Remember a message that is about to be sent."""
        call = Call(message, deliver, opened_at=now)
        self._open[message.request_id] = call
        return call

    def close(self, call: Call) -> list[FromGateway]:
        """Nobody waits for ``call`` any more. It is aborted unless it has ended."""
        if self._open.get(call.message.request_id) is not call:
            return []
        del self._open[call.message.request_id]
        return [Abort(call.message.request_id)]

    def fail_all(self, code: ErrorCode, text: str) -> list[FromGateway]:
        """End every call, with an error for its caller and an abort for the scheduler."""
        return [self._fail(call, code, text) for call in list(self._open.values())]

    def tick(self, now: float) -> list[FromGateway]:
        """End the calls whose scheduler has been silent for too long."""
        if now - self.heard_at <= SCHEDULER_TIMEOUT:
            return []
        text = "the scheduler does not answer; it is being restarted, try again"
        expired = [c for c in self._open.values() if now - c.opened_at > SCHEDULER_TIMEOUT]
        return [self._fail(call, ErrorCode.SCHEDULER_LOST, text) for call in expired]

    def receive(self, message: Outputs | Rejected | Done | Status, now: float) -> list[FromGateway]:
        """Take in a frame from the scheduler."""
        self.heard_at = now
        match message:
            case Outputs(outputs):
                for output in outputs:
                    self._on_output(output)
            case Rejected(request_id, code, text, param, retry_after):
                if call := self._open.pop(request_id, None):
                    call.deliver(RequestFailed(code, text, param, retry_after))
            case Done(request_id):
                if call := self._open.pop(request_id, None):
                    call.deliver(_last_reply(call, message))
            case Status():
                previous, self.status = self.status, message
                if previous is not None and previous.epoch != message.epoch:
                    return self._on_scheduler_restarted()
        return []

    def _on_output(self, output: Output) -> None:
        call = self._open.get(output.request_id)
        if call is None or not isinstance(call.message, Submit):
            return  # the call was closed meanwhile, or it is none that has outputs
        call.started = True
        if output.last:
            del self._open[output.request_id]
        call.deliver(output)

    def _on_scheduler_restarted(self) -> list[FromGateway]:
        """A new scheduler knows nothing of the calls before it: repeat them or end them."""
        messages: list[FromGateway] = []
        for call in list(self._open.values()):
            if call.started or call.attempts > 1:
                text = "the scheduler was restarted during this request; send it again"
                messages.append(self._fail(call, ErrorCode.SCHEDULER_LOST, text))
            else:
                messages += self._repeat(call)
        return messages

    def _repeat(self, call: Call) -> list[FromGateway]:
        # A frame that was sent while no scheduler ran may have reached the new one. The first
        # attempt is aborted and the second has another id, so the request cannot run twice.
        first_id = call.message.request_id
        del self._open[first_id]
        call.message = msgspec.structs.replace(call.message, request_id=new_request_id())
        call.attempts += 1
        self._open[call.message.request_id] = call
        return [Abort(first_id, counts_as=None), call.message]

    def _fail(self, call: Call, code: ErrorCode, text: str) -> Abort:
        del self._open[call.message.request_id]
        call.deliver(RequestFailed(code, text))
        return Abort(call.message.request_id, counts_as=Outcome.FAILED)


def _last_reply(call: Call, done: Done) -> Reply:
    if isinstance(call.message, Submit):
        return RequestFailed(ErrorCode.INTERNAL, "the answer ended without a reason")
    return done


def new_request_id() -> str:
    return token_hex(16)
