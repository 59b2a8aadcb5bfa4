"""Reads large texts in threads of its own, beside the model's steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.workers.model.backend import RequestError

logger = logging.getLogger(__name__)

# What is larger is not read between two steps of a model.
SMALL_CHARACTERS = 16 * 1024
SMALL_STRINGS = 1000
SMALL_TOKENS = 4096

THREADS = 2

T = TypeVar("T")
Cancelled = Callable[[], bool]


@dataclass(slots=True)
class _Job(Generic[T]):
    result: Future[T]
    cancelled: threading.Event = field(default_factory=threading.Event)


class TextJobs(Generic[T]):
    """The large texts of one model, each of a request. It is used from one thread."""

    def __init__(
        self, wake: Callable[[], None], begin_thread: Callable[[], None] = lambda: None
    ) -> None:
        """``wake`` is called from another thread when a job has ended.

        ``begin_thread`` is called first in each thread that reads.
        """
        self._wake = wake
        self._threads = ThreadPoolExecutor(THREADS, "texts", begin_thread)
        self._jobs: dict[str, _Job[T]] = {}

    @property
    def ready(self) -> bool:
        """Whether ``take`` returns something."""
        return any(job.result.done() for job in self._jobs.values())

    def start(self, request_id: str, read: Callable[[Cancelled], T]) -> None:
        """Call ``read`` in a thread. It may ask whether it is cancelled, and raise RequestError."""
        cancelled = threading.Event()
        future = self._threads.submit(read, cancelled.is_set)
        self._jobs[request_id] = _Job(future, cancelled)
        future.add_done_callback(lambda _: self._wake())

    def cancel(self, request_id: str) -> None:
        """Nobody waits for the job any more. Unknown ids are ignored."""
        if (job := self._jobs.pop(request_id, None)) is not None:
            job.cancelled.set()
            job.result.cancel()

    def take(self) -> list[tuple[str, T | RequestError]]:
        """The jobs that have ended since the last call."""
        ended = [(request_id, job) for request_id, job in self._jobs.items() if job.result.done()]
        for request_id, _ in ended:
            del self._jobs[request_id]
        results: list[tuple[str, T | RequestError]] = []
        for request_id, job in ended:
            result = _result(job)
            results.append((request_id, result))
        return results


def _result(job: _Job[T]) -> T | RequestError:
    try:
        return job.result.result()
    except RequestError as error:
        return error
    except Exception:  # an unforeseen input must cost its own request only
        logger.exception("could not read a request")
        return RequestError(ErrorCode.INTERNAL, "the worker could not read this request")
