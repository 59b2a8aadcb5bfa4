"""A worker without its loop, and a backend that keeps what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    ANY_TURN,
    FromWorker,
    Heartbeat,
    LoadModel,
    Outputs,
    Rejected,
    Submit,
    Turn,
    encode_work,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import (
    Decide,
    Decode,
    Embed,
    Encode,
    LocalModel,
    SamplingParams,
    Text,
    Transcribe,
    Work,
)
from cupola.workers.echo import EchoBackend
from cupola.workers.model.backend import Backend
from cupola.workers.residency import Residency
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
OTHER = LocalModel("o:1", "/o", CPU)


class Recording(Backend):
    """The echo backend, which keeps what it was given."""

    serving = EchoBackend.serving
    shared_bytes = 0
    capacity: int = 0
    postponed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.closed = False
        self.pieces = 0  # of work for times without requests
        self.rests: list[bool] = []  # whether each was a long one
        self.works: list[Work | Embed | Decide | Transcribe] = []
        self._echo = EchoBackend()
        self.waits = False  # for a thread of its own: there is nothing to step

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        self.works.append(work)
        self._echo.add(request_id, work)

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        return self._echo.convert(request_id, task)

    def abort(self, request_id: str) -> None:
        self._echo.abort(request_id)

    def step(self) -> Sequence[Output | Rejected]:
        return self._echo.step()

    def close(self) -> None:
        self.closed = True

    def warm_up(self) -> bool:
        self.pieces -= 1
        return self.pieces >= 0

    def rest(self, long: bool) -> None:
        self.rests.append(long)

    @property
    def busy(self) -> bool:
        return self._echo.busy and not self.waits


class Bench:
    """A worker, and the models whose load it has started."""

    def __init__(self) -> None:
        self.loading: list[LocalModel] = []
        self.residency = Residency(default_ttl=600)
        self.worker = Worker(Identity("cpu:0/0", CPU, 1, 4), self.residency, self.loading.append)

    def load(
        self, model: LocalModel = MODEL, now: float = 0, backend: Backend | None = None
    ) -> list[FromWorker]:
        if model.id not in self.residency.models:
            self.worker.receive(LoadModel("l", model), now)
        first, *answers = self.worker.loaded(model.id, backend or EchoBackend(), now)
        assert isinstance(first, Heartbeat)
        assert model.id in first.resident
        return answers

    def generate(
        self,
        request_id: str,
        text: str = "one two",
        now: float = 0,
        ttl: float | None = None,
        **sampling: Any,
    ) -> list[FromWorker]:
        work = encode_work(Work(Text(text), SamplingParams(**sampling)))
        return self.worker.receive(Submit(request_id, MODEL, work, ttl), now)

    def step(self, now: float = 0) -> list[Output]:
        """The outputs of a step, which must be all that it makes."""
        (message,) = self.worker.step(now)
        assert isinstance(message, Outputs)
        return list(message.outputs)

    def finish(self, now: float = 0) -> dict[str, str]:
        """Step until nothing is left; the answers."""
        texts: dict[str, str] = {}
        while self.worker.busy:
            for output in self.step(now):
                texts[output.request_id] = texts.get(output.request_id, "") + output.text
        return texts


def output_of(messages: list[FromWorker]) -> Output:
    """The only output in the only message."""
    (message,) = messages
    assert isinstance(message, Outputs)
    (output,) = message.outputs
    return output


def rejection_of(messages: list[FromWorker]) -> Rejected:
    """The only message, a Rejected."""
    (message,) = messages
    assert isinstance(message, Rejected)
    return message
