"""The table of open calls: whatever happens, every call ends exactly once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as BundleOf
from hypothesis.stateful import RuleBasedStateMachine, consumes, initialize, invariant, rule

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.calls import SCHEDULER_TIMEOUT, Call, Calls, Reply, new_request_id
from cupola.gateway.http.errors import RequestFailed
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FromGateway,
    LoadModel,
    Outcome,
    Outputs,
    Query,
    Rejected,
    Status,
    Submit,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel

USAGE = Usage(1, 1)
MODEL = LocalModel("m:1", "/models/m", ExecutionProvider.CPU)


def submit() -> Submit:
    return Submit(new_request_id(), MODEL, msgspec.Raw(b""))


def opened(calls: Calls, message: Submit | LoadModel | None = None) -> tuple[Call, list[Reply]]:
    replies: list[Reply] = []
    return calls.open(message or submit(), replies.append, now=0.0), replies


@pytest.fixture
def calls() -> Calls:
    calls = Calls(now=0.0)
    calls.receive(Status("first"), now=0.0)
    return calls


def failure(replies: list[Reply]) -> ErrorCode:
    assert isinstance(replies[-1], RequestFailed)
    return replies[-1].code


def test_each_output_reaches_its_own_call(calls: Calls) -> None:
    (one, to_one), (two, to_two) = opened(calls), opened(calls)
    first = Output(one.message.request_id, "a")
    second = Output(two.message.request_id, "b", FinishReason.STOP, USAGE)
    assert calls.receive(Outputs((first, second)), now=1.0) == []
    assert (to_one, to_two) == ([first], [second])
    assert len(calls) == 1


def test_output_of_nobody_is_dropped(calls: Calls) -> None:
    assert calls.receive(Outputs((Output("unknown", "a"),)), now=1.0) == []


def test_rejection_ends_the_call(calls: Calls) -> None:
    call, replies = opened(calls)
    calls.receive(Rejected(call.message.request_id, ErrorCode.QUEUE_FULL, "full"), now=1.0)
    assert failure(replies) is ErrorCode.QUEUE_FULL
    assert calls.close(call) == []


def test_load_ends_with_done(calls: Calls) -> None:
    call, replies = opened(calls, LoadModel(new_request_id(), MODEL))
    done = Done(call.message.request_id)
    calls.receive(done, now=1.0)
    assert replies == [done]


def test_done_is_no_answer_to_a_submit(calls: Calls) -> None:
    call, replies = opened(calls)
    calls.receive(Done(call.message.request_id), now=1.0)
    assert failure(replies) is ErrorCode.INTERNAL


def test_closing_aborts_once(calls: Calls) -> None:
    call, _ = opened(calls)
    assert calls.close(call) == [Abort(call.message.request_id)]
    assert calls.close(call) == []


def test_new_life_repeats_what_had_not_begun(calls: Calls) -> None:
    call, replies = opened(calls)
    first = call.message.request_id
    abort, again = calls.receive(Status("second"), now=1.0)
    assert abort == Abort(first, counts_as=None)
    assert isinstance(again, Submit) and again == call.message and again.request_id != first
    calls.receive(Outputs((Output(first, "late"),)), now=1.0)
    assert replies == []
    answer = Output(again.request_id, "a", FinishReason.STOP, USAGE)
    calls.receive(Outputs((answer,)), now=1.0)
    assert replies == [answer]


def test_new_life_ends_what_had_begun(calls: Calls) -> None:
    call, replies = opened(calls)
    calls.receive(Outputs((Output(call.message.request_id, "a"),)), now=1.0)
    aborted = Abort(call.message.request_id, counts_as=Outcome.FAILED)
    assert calls.receive(Status("second"), now=2.0) == [aborted]
    assert failure(replies) is ErrorCode.SCHEDULER_LOST


def test_repeated_once_only(calls: Calls) -> None:
    _, replies = opened(calls)
    calls.receive(Status("second"), now=1.0)
    calls.receive(Status("third"), now=2.0)
    assert failure(replies) is ErrorCode.SCHEDULER_LOST


def test_first_status_is_no_new_life() -> None:
    calls = Calls(now=0.0)
    opened(calls)
    assert calls.receive(Status("first"), now=1.0) == []


def test_silence_ends_calls_that_have_waited_long_enough(calls: Calls) -> None:
    _, old = opened(calls)
    young: list[Reply] = []
    calls.open(submit(), young.append, now=SCHEDULER_TIMEOUT)
    assert calls.tick(now=SCHEDULER_TIMEOUT) == []
    assert len(calls.tick(now=SCHEDULER_TIMEOUT + 1)) == 1
    assert failure(old) is ErrorCode.SCHEDULER_LOST
    assert young == []


def test_any_frame_ends_the_silence(calls: Calls) -> None:
    opened(calls)
    calls.receive(Outputs(()), now=SCHEDULER_TIMEOUT)
    assert calls.tick(now=SCHEDULER_TIMEOUT + 1) == []


class CallsMachine(RuleBasedStateMachine):
    """Random events, and two rules: each call ends exactly once, and no work is left behind."""

    opened = BundleOf("opened")

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.calls = Calls(self.now)
        self.replies: dict[Call, list[Reply]] = {}
        self.closed: set[Call] = set()
        self.running: set[str] = set()  # what a scheduler that misses no frame would have
        self.submitted: set[str] = set()
        self.epoch = 0
        self.receive(Status("0"))

    def receive(self, message: Outputs | Rejected | Done | Status) -> None:
        self.sent(self.calls.receive(message, self.now))

    def sent(self, messages: list[FromGateway]) -> None:
        for message in messages:
            if isinstance(message, Abort):
                self.running.discard(message.request_id)
            elif not isinstance(message, Query):
                assert message.request_id not in self.submitted
                self.submitted.add(message.request_id)
                self.running.add(message.request_id)

    @rule(target=opened, load=st.booleans())
    def open(self, load: bool) -> Call:
        message = LoadModel(new_request_id(), MODEL) if load else submit()
        replies: list[Reply] = []
        call = self.calls.open(message, replies.append, self.now)
        self.replies[call] = replies
        self.sent([message])
        return call

    @rule(call=consumes(opened))
    def close(self, call: Call) -> None:
        self.sent(self.calls.close(call))
        self.closed.add(call)
        self.replies[call] = [*self.replies[call]]  # nothing may be added any more
        call.deliver = self.nobody

    @staticmethod
    def nobody(reply: Reply) -> None:
        raise AssertionError("delivered to a closed call")

    @rule(call=opened, end=st.sampled_from([None, *FinishReason]))
    def output(self, call: Call, end: FinishReason | None) -> None:
        request_id = call.message.request_id
        if isinstance(call.message, Submit):
            if end is not None:
                self.running.discard(request_id)
            self.receive(Outputs((Output(request_id, "x", end, USAGE if end else None),)))

    @rule(call=opened, rejected=st.booleans())
    def finish(self, call: Call, rejected: bool) -> None:
        request_id = call.message.request_id
        self.running.discard(request_id)
        self.receive(
            Rejected(request_id, ErrorCode.WORKER_LOST, "") if rejected else Done(request_id)
        )

    @rule()
    def restart(self) -> None:
        self.epoch += 1
        self.running.clear()
        self.receive(Status(str(self.epoch)))

    @rule(seconds=st.floats(0, 2 * SCHEDULER_TIMEOUT))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.sent(self.calls.tick(self.now))

    @rule()
    def give_up(self) -> None:
        self.sent(self.calls.fail_all(ErrorCode.SHUTTING_DOWN, "stop"))
        assert len(self.calls) == 0

    @invariant()
    def each_ends_exactly_once(self) -> None:
        open_ids = set()
        for call, replies in self.replies.items():
            ends = [index for index, reply in enumerate(replies) if is_end(reply)]
            assert ends in ([], [len(replies) - 1])
            if not ends and call not in self.closed:
                open_ids.add(call.message.request_id)
        assert len(self.calls) == len(open_ids)
        assert self.running == open_ids


def is_end(reply: Reply) -> bool:
    return not isinstance(reply, Output) or reply.last


TestCalls = CallsMachine.TestCase
