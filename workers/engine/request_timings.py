"""How long the requests of an engine take, and how far their prompts have been read.

A request's time begins with the first run that it is a part of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from cupola.scheduler.protocol.outputs import Output, PromptProgress, Timings
from cupola.workers.engine.sequence import Job
from cupola.workers.engine.sequence import Sequence as Answer
from cupola.workers.planning.plan import Step


@dataclass(slots=True)
class _Times:
    """In seconds, by the clock."""

    began: float
    first_token: float | None = None


class RequestTimings:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: dict[str, _Times] = {}  # of the requests that have begun, by id

    def begin(self, steps: Iterable[Step[Answer]]) -> None:
        """These steps are about to be run."""
        for step in steps:
            request_id = step.sequence.job.request_id
            if request_id not in self._times:
                self._times[request_id] = _Times(self._clock())

    def forget(self, request_id: str) -> None:
        """A request has ended without its last output."""
        self._times.pop(request_id, None)

    def add_to(self, outputs: Sequence[Output], steps: Iterable[Step[Answer]]) -> list[Output]:
        """The outputs of some steps that were run, with what their requests want to know."""
        now = self._clock()
        progress: list[Output] = []
        asking: dict[str, Job] = {}
        for step in steps:
            job = step.sequence.job
            if job.wants_timings:
                asking[job.request_id] = job
            if job.wants_progress and step.sequence.index == 0:
                progress += self._progress(step.sequence, now)
        return progress + [self._timed(output, asking, now) for output in outputs]

    def _progress(self, sequence: Answer, now: float) -> list[Output]:
        job = sequence.job
        times = self._times[job.request_id]
        if times.first_token is not None:
            return []
        total = job.prompt_tokens
        read = min(sequence.cached, total)
        told = PromptProgress(total, job.cached_tokens or 0, read, now - times.began)
        return [Output(job.request_id, progress=told)]

    def _timed(self, output: Output, asking: dict[str, Job], now: float) -> Output:
        times = self._times.get(output.request_id)
        if times is None:
            return output
        if times.first_token is None:
            times.first_token = now
        usage = output.usage
        if usage is not None:
            del self._times[output.request_id]
        elif job := asking.get(output.request_id):
            usage = job.usage
        if usage is None:
            return output
        first = times.first_token
        return replace(output, timings=Timings(usage, first - times.began, now - first))
