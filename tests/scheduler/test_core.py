"""The scheduler's decisions, one event at a time."""

from __future__ import annotations

import msgspec
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.http.errors import TABLE
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outcome,
    Outputs,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Status,
    Submit,
    UnloadModel,
    decode_to_worker,
    encode,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, PromptProgress, Recording, Usage
from cupola.scheduler.protocol.status import Totals
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU, CUDA = ExecutionProvider.CPU, ExecutionProvider.CUDA
MODEL = LocalModel("m:1", "/models/m", CPU)
OTHER = LocalModel("o:1", "/models/o", CPU)
WORK = encode_work(Work(Text("hi")))
NAMES = {"cpu:0/0": CPU, "cpu:0/1": CPU}


def submit(request_id: str, model: LocalModel = MODEL) -> Submit:
    return Submit(request_id, model, WORK)


def ready(name: str = "cpu:0/0", slots: int = 1, resident: tuple[str, ...] = ()) -> Ready:
    return Ready(name, CPU, 42, slots, resident)


def answers(sends: list[Send]) -> list[Send]:
    """What was sent besides news about the workers."""
    return [send for send in sends if not isinstance(send.message, Status)]


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(SchedulerPolicy(NAMES, queue_limit=2, queue_timeout=60, lease=10), "life-1")


def test_a_request_waits_for_a_worker_and_ends_with_its_last_output(scheduler):
    assert scheduler.receive(b"g", submit("r1"), now=0) == []
    sends = answers(scheduler.receive(b"w", ready(), now=1))
    assert sends == [Send(b"w", submit("r1"))]
    first, last = Output("r1", "a"), Output("r1", "b", FinishReason.STOP, Usage(1, 2))
    assert scheduler.receive(b"w", Outputs((first,)), now=2) == [Send(b"g", Outputs((first,)))]
    assert scheduler.receive(b"w", Outputs((last,)), now=3) == [Send(b"g", Outputs((last,)))]
    assert not scheduler.requests
    assert scheduler.workers[b"w"].free == 1


def test_status_tells_what_the_requests_came_to(scheduler):
    scheduler.receive(b"w", ready(slots=4), now=0)
    for name in ("r1", "r2", "r3", "gone"):
        scheduler.receive(b"g", submit(name), now=0)
    ends = [
        Output("r1", "a", made=2, prompt_usage=Usage(10, 2, 4)),
        Output("r1", "b", FinishReason.STOP, Usage(10, 5, 4, 2, 1), made=3),
        Output("r2", "c", FinishReason.LENGTH, Usage(3, 7), made=7, prompt_usage=Usage(3, 7)),
        Output("gone", "d", made=1, prompt_usage=Usage(6, 1)),
    ]
    scheduler.receive(b"w", Outputs(tuple(ends)), now=1)
    scheduler.receive(b"w", Rejected("r3", ErrorCode.INTERNAL, "why"), now=1)
    scheduler.receive(b"g", Abort("gone"), now=1)
    spent = Output("gone", "", FinishReason.ABORT, Usage(6, 3, 0, 1, 4), made=2)
    assert scheduler.receive(b"w", Outputs((spent,)), now=1) == []
    assert scheduler.status(now=1).totals == Totals(
        answered=2,
        failed=1,
        aborted=1,
        prompt_tokens=19,
        completion_tokens=15,
        cached_tokens=4,
        accepted_prediction_tokens=3,
        rejected_prediction_tokens=5,
    )


def test_recordings_are_counted_when_they_end(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    heard = Recording(90.2, "en")
    for output in (
        Output("r1", "a", recording=heard),
        Output("r1", usage=Usage(3, 7), recording=heard),
    ):
        scheduler.receive(b"w", Outputs((output,)), now=1)
    assert scheduler.status(now=1).totals.audio_seconds == 91


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_counts_as_its_status_says(scheduler, code):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.receive(b"w", Rejected("r1", code, "why"), now=0)
    refused = TABLE[code].status < 500
    assert scheduler.status(now=1).totals == Totals(refused=int(refused), failed=int(not refused))


def test_a_request_that_is_sent_again_counts_once(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.receive(b"g", Abort("r1", counts_as=None), now=0)
    scheduler.receive(b"g", submit("r2"), now=0)
    end = Output("r2", "", FinishReason.STOP, Usage(1, 1), made=1)
    scheduler.receive(b"w", Outputs((end,)), now=0)
    assert scheduler.status(now=1).totals == Totals(answered=1, completion_tokens=1)


def test_what_ended_in_a_gateway_counts_with_its_query(scheduler):
    ended = {Outcome.REFUSED: 3, Outcome.ABORTED: 1}
    [(peer, status)] = scheduler.receive(b"g", Query(7, ended), now=0)
    assert (peer, status.answers) == (b"g", 7)
    assert status.totals == Totals(refused=3, aborted=1)


def test_loads_are_no_work_of_a_model(scheduler):
    scheduler.receive(b"w", ready(slots=3), now=0)
    for name in ("done", "failed", "aborted"):
        scheduler.receive(b"g", LoadModel(name, MODEL), now=0)
    scheduler.receive(b"w", Done("done"), now=0)
    scheduler.receive(b"w", Rejected("failed", ErrorCode.MODEL_LOAD_FAILED, "why"), now=0)
    scheduler.receive(b"g", Abort("aborted"), now=0)
    assert not scheduler.requests
    assert scheduler.status(now=1).totals == Totals()


def test_a_worker_that_takes_more_gets_more(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    for name in ("r1", "r2", "r3"):
        scheduler.receive(b"g", submit(name), now=0)
    assert scheduler.workers[b"w"].free == 0
    sends = answers(scheduler.receive(b"w", Heartbeat(resident=("m:1",), slots=2), now=1))
    assert sends == [Send(b"w", submit("r2"))]
    assert answers(scheduler.receive(b"w", Heartbeat(resident=("m:1",)), now=2)) == []
    assert scheduler.workers[b"w"].slots == 2


def test_outputs_go_to_the_gateway_that_asked(scheduler):
    scheduler.receive(b"w", ready(slots=2), now=0)
    scheduler.receive(b"g1", submit("r1"), now=0)
    scheduler.receive(b"g2", submit("r2"), now=0)
    one, two = Output("r1", "x"), Output("r2", "y")
    sends = scheduler.receive(b"w", Outputs((one, two)), now=1)
    assert sends == [Send(b"g1", Outputs((one,))), Send(b"g2", Outputs((two,)))]


def test_outputs_of_another_worker_are_dropped(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    assert scheduler.receive(b"stranger", Outputs((Output("r1", "x"),)), now=1) == []


def test_a_full_queue_rejects(scheduler):
    for number in range(2):
        scheduler.receive(b"g", submit(f"r{number}"), now=0)
    (send,) = scheduler.receive(b"g", submit("r9"), now=0)
    assert send.peer == b"g"
    assert isinstance(send.message, Rejected)
    assert send.message.code is ErrorCode.QUEUE_FULL
    assert set(scheduler.requests) == {"r0", "r1"}


def test_a_model_that_no_worker_can_run_is_rejected_at_once(scheduler):
    (send,) = scheduler.receive(b"g", submit("r1", LocalModel("c:1", "/c", CUDA)), now=0)
    assert isinstance(send.message, Rejected)
    assert send.message.code is ErrorCode.NO_WORKER


def test_waiting_too_long_ends_the_request(scheduler):
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.receive(b"g", Query(), now=55)
    assert scheduler.next_deadline() == 60
    assert scheduler.tick(now=59.9) == []
    (send,) = scheduler.tick(now=60)
    assert isinstance(send.message, Rejected)
    assert send.message.code is ErrorCode.QUEUE_TIMEOUT
    assert not scheduler.requests


def test_abort_forgets_a_queued_request_and_stops_a_running_one(scheduler):
    scheduler.receive(b"g", submit("r1"), now=0)
    assert scheduler.receive(b"g", Abort("r1"), now=0) == []
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r2"), now=0)
    assert scheduler.receive(b"g", Abort("r2"), now=1) == [Send(b"w", Abort("r2"))]
    assert scheduler.receive(b"w", Outputs((Output("r2", "late"),)), now=1) == []
    assert scheduler.workers[b"w"].free == 1


def test_a_gateway_cannot_abort_another_ones_request(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    assert scheduler.receive(b"other", Abort("r1"), now=1) == []
    assert "r1" in scheduler.requests


def test_a_lost_worker_ends_what_had_begun_and_the_rest_runs_elsewhere(scheduler):
    scheduler.receive(b"w0", ready("cpu:0/0", slots=2), now=0)
    scheduler.receive(b"g", submit("begun"), now=0)
    scheduler.receive(b"g", submit("fresh"), now=0)
    scheduler.receive(b"w0", Outputs((Output("begun", "x"),)), now=1)
    scheduler.receive(b"w1", ready("cpu:0/1", slots=2), now=1)
    sends = answers(scheduler.process_ended("cpu:0/0", now=2))
    rejected = sends[0].message
    assert isinstance(rejected, Rejected)
    assert (rejected.request_id, rejected.code) == ("begun", ErrorCode.WORKER_LOST)
    assert sends[1:] == [Send(b"w1", submit("fresh"))]


def test_progress_with_a_prompt_is_no_beginning(scheduler):
    """The client has nothing of the answer, so it can run elsewhere."""
    scheduler.receive(b"w0", ready("cpu:0/0"), now=0)
    scheduler.receive(b"g", submit("r"), now=0)
    told = Outputs((Output("r", progress=PromptProgress(9, 0, 5, 0.1)),))
    assert scheduler.receive(b"w0", told, now=1) == [Send(b"g", told)]
    scheduler.receive(b"w1", ready("cpu:0/1"), now=1)
    assert answers(scheduler.process_ended("cpu:0/0", now=2)) == [Send(b"w1", submit("r"))]


def test_what_runs_again_goes_before_what_came_later(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("early"), now=0)
    scheduler.receive(b"g", submit("late"), now=0)
    scheduler.process_ended("cpu:0/0", now=1)
    assert [request.id for request in scheduler.queue] == ["early", "late"]


def test_a_silent_worker_loses_its_lease_and_any_frame_renews_it(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"w", Heartbeat(), now=5)
    assert scheduler.next_deadline() == 15
    scheduler.tick(now=14.9)
    assert b"w" in scheduler.workers
    scheduler.tick(now=15)
    assert b"w" not in scheduler.workers


def test_a_worker_that_loads_a_model_may_be_silent_for_longer(scheduler):
    """onnxruntime-genai lets no other thread run while it reads a model."""
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.tick(now=609)
    assert b"w" in scheduler.workers
    scheduler.receive(b"w", Heartbeat(resident=(MODEL.id,)), now=609)
    scheduler.tick(now=618.9)
    assert b"w" in scheduler.workers
    scheduler.tick(now=619)
    assert b"w" not in scheduler.workers


def test_an_unknown_worker_is_asked_to_rejoin(scheduler):
    assert scheduler.receive(b"w", Heartbeat(), now=0) == [Send(b"w", Rejoin())]


def test_a_new_life_replaces_the_old_one_of_the_same_name(scheduler):
    scheduler.receive(b"w-1", ready(), now=0)
    scheduler.receive(b"w-2", ready(), now=1)
    assert set(scheduler.workers) == {b"w-2"}


def test_goodbye_frees_the_workers_requests(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.receive(b"w", Goodbye(), now=1)
    assert [request.id for request in scheduler.queue] == ["r1"]


def test_a_silent_gateway_has_its_requests_stopped(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    scheduler.receive(b"w", Heartbeat(), now=9)
    assert Send(b"w", Abort("r1")) in scheduler.tick(now=10)
    assert not scheduler.requests


def test_an_unreachable_gateway_has_its_requests_stopped(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    scheduler.receive(b"g", submit("r1"), now=0)
    assert Send(b"w", Abort("r1")) in scheduler.unreachable(b"g", now=1)


def test_the_worker_that_holds_the_model_is_preferred_then_the_emptiest(scheduler):
    scheduler.receive(b"w0", ready("cpu:0/0", slots=2, resident=("o:1",)), now=0)
    scheduler.receive(b"w1", ready("cpu:0/1", slots=2, resident=("m:1",)), now=0)
    sends = [scheduler.receive(b"g", submit(f"r{number}"), now=0) for number in range(3)]
    assert [send.peer for (send,) in sends] == [b"w1", b"w1", b"w0"]


def test_load_is_answered_when_the_worker_has_done_it(scheduler):
    scheduler.receive(b"w", ready(), now=0)
    (send,) = scheduler.receive(b"g", LoadModel("l1", OTHER, ttl=5), now=0)
    assert send == Send(b"w", LoadModel("l1", OTHER, ttl=5))
    assert scheduler.receive(b"w", Done("l1"), now=1) == [Send(b"g", Done("l1"))]


def test_unload_is_answered_when_every_holder_has_done_it(scheduler):
    scheduler.receive(b"w0", ready("cpu:0/0", resident=("m:1",)), now=0)
    scheduler.receive(b"w1", ready("cpu:0/1", resident=("m:1",)), now=0)
    sends = scheduler.receive(b"g", UnloadModel("u1", "m:1"), now=0)
    assert {send.peer for send in sends} == {b"w0", b"w1"}
    assert all(send.message == UnloadModel("u1", "m:1") for send in sends)
    assert scheduler.receive(b"w0", Done("u1"), now=1) == []
    assert Send(b"g", Done("u1")) in scheduler.process_ended("cpu:0/1", now=1)


def test_unloading_what_nobody_holds_is_done_at_once(scheduler):
    assert scheduler.receive(b"g", UnloadModel("u1", "m:1"), now=0) == [Send(b"g", Done("u1"))]


def test_an_unload_of_a_gateway_that_is_gone_is_answered_to_nobody(scheduler: Scheduler) -> None:
    scheduler.receive(b"w", ready(resident=("m:1",)), now=0)
    scheduler.receive(b"g", UnloadModel("u1", "m:1"), now=0)
    scheduler.unreachable(b"g", now=0)
    assert scheduler.receive(b"w", Done("u1"), now=1) == []


def test_requests_of_a_lost_worker_wait_in_the_order_of_their_arrival(scheduler: Scheduler) -> None:
    scheduler.receive(b"w", ready(slots=2), now=0)
    for request_id in ("z", "a"):
        scheduler.receive(b"g", submit(request_id), now=0)
    scheduler.process_ended("cpu:0/0", now=1)
    assert [request.id for request in scheduler.queue] == ["z", "a"]


def test_status_names_present_and_missing_workers_and_is_pushed_on_change(scheduler):
    (send,) = scheduler.receive(b"g", Query(), now=0)
    assert isinstance(send.message, Status)
    assert send.message.missing == ("cpu:0/0", "cpu:0/1")
    (push,) = scheduler.receive(b"w", ready(resident=("m:1",)), now=1)
    assert push.peer == b"g"
    assert isinstance(push.message, Status)
    assert push.message.missing == ("cpu:0/1",)
    assert push.message.workers[0].resident == ("m:1",)
    assert push.message.epoch == "life-1"


def test_a_worker_gets_the_message_as_the_gateway_sent_it(scheduler: Scheduler) -> None:
    """With its tenant, which the worker needs, and without the work being decoded."""
    scheduler.receive(b"w", ready(), now=0)
    message = Submit("r1", MODEL, msgspec.Raw(b"\xc0"), ttl=5, tenant="a digest")
    assert answers(scheduler.receive(b"g", message, now=0)) == [Send(b"w", message)]
    assert decode_to_worker(encode(message)) == message


def test_a_request_sent_twice_runs_once(scheduler):
    scheduler.receive(b"w", ready(slots=2), now=0)
    assert len(scheduler.receive(b"g", submit("r1"), now=0)) == 1
    assert scheduler.receive(b"g", submit("r1"), now=0) == []
