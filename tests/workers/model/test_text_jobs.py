"""Large texts that are read beside the model's steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text_jobs import TextJobs

Cancelled = Callable[[], bool]


class Bench:
    def __init__(self) -> None:
        self.woken = threading.Event()
        self.jobs: TextJobs[str] = TextJobs(self.woken.set)

    def take(self) -> list[tuple[str, str | RequestError]]:
        """The first results, once there are any."""
        assert self.woken.wait(60)
        assert self.jobs.ready
        return self.jobs.take()


def test_a_result_wakes_the_loop_and_is_taken_once():
    bench = Bench()
    assert not bench.jobs.ready
    bench.jobs.start("r", lambda _: "text")
    assert bench.take() == [("r", "text")]
    assert not bench.jobs.ready
    assert bench.jobs.take() == []


def test_each_thread_begins_as_it_is_told():
    began = threading.Event()
    jobs: TextJobs[bool] = TextJobs(lambda: None, began.set)
    jobs.start("r", lambda _: True)
    assert began.wait(60)


def test_an_error_is_the_request_s_own():
    def refuse(cancelled: Cancelled) -> str:
        raise RequestError(ErrorCode.INVALID_REQUEST, "too odd", "prompt")

    bench = Bench()
    bench.jobs.start("r", refuse)
    ((request_id, error),) = bench.take()
    assert isinstance(error, RequestError)
    assert (request_id, str(error), error.param) == ("r", "too odd", "prompt")


def test_an_unforeseen_error_says_no_details(caplog):
    def fail(cancelled: Cancelled) -> str:
        raise ZeroDivisionError

    bench = Bench()
    bench.jobs.start("r", fail)
    ((_, error),) = bench.take()
    assert isinstance(error, RequestError)
    assert error.code is ErrorCode.INTERNAL
    assert "could not read" in caplog.text


def test_a_cancelled_job_learns_it_and_has_no_result():
    began, ended = threading.Event(), threading.Event()

    def read(cancelled: Cancelled) -> str:
        began.set()
        while not cancelled():
            ended.wait(0.001)
        ended.set()
        return "late"

    bench = Bench()
    bench.jobs.start("r", read)
    assert began.wait(60)
    bench.jobs.cancel("r")
    bench.jobs.cancel("r")
    assert ended.wait(60)
    assert not bench.jobs.ready and bench.jobs.take() == []
    bench.jobs.cancel("unknown")
