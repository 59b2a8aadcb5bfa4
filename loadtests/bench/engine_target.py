"""The engine in this process, without HTTP and the other processes, under the same requests."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cupola.cache.catalog import ExecutionProvider
from cupola.loadtests.bench.level import Level, arrivals
from cupola.loadtests.bench.target import Amount, Broken, Turn
from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.workloads import CHAT, Conversation, Workload
from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Chat, LocalModel, SamplingParams, Work
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend, RequestError


@dataclass(slots=True)
class _Open:
    """A request that the engine works on."""

    client: Client
    began: float  # its intended start, by ``time.perf_counter``
    sent: float
    first: float | None = None
    last: float = 0.0
    gaps: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Client:
    """Asks again when it has its answer, so many times."""

    chance: Random
    left: int
    next_at: float  # of its next request, by ``time.perf_counter``


class EngineTarget:
    """A model's folder in an engine of this process."""

    def __init__(self, folder: Path, options: EngineOptions, name: str = "engine") -> None:
        self.name = name
        self.model = folder.name
        self._folder = folder
        self._options = options
        self._engine: Backend | None = None
        self.steps: list[float] = []  # seconds of each step of the last turn
        self.outside: list[float] = []  # of them those in which the model did not run

    @property
    def where(self) -> str:
        return "in this process"

    @property
    def engine(self) -> Backend:
        """The engine, which is loaded when it is first needed. Raises what the load raises."""
        if self._engine is None:
            model = LocalModel(self._folder.name, str(self._folder), ExecutionProvider.CPU)
            self._engine = load(model, self._options)
        return self._engine

    def check(self, workload: Workload) -> None:
        single = workload.path == CHAT and workload.turns == 1
        if not single or workload.tools or workload.schema is not None:
            raise Broken(
                "the engine alone is measured with single questions, without tools and schemas: "
                f"{workload.name} is more than that"
            )
        try:
            self.run(workload, Level(clients=1), Amount(requests=1), 0, lambda _: None)
        except (OSError, ValueError, RuntimeError) as error:
            raise Broken(f"the engine cannot load {self.model}: {error}") from error

    def run(
        self,
        workload: Workload,
        level: Level,
        amount: Amount,
        seed: int,
        keep: Callable[[Record], None],
    ) -> Turn:
        engine, turn, self.steps = self.engine, Turn(), []
        self.outside = []
        began = time.perf_counter()
        waiting = deque(_clients(level, amount, seed, began))
        numbers, running = itertools.count(), dict[str, _Open]()
        while waiting or running:
            now = time.perf_counter()
            while waiting and waiting[0].next_at <= now:
                client = waiting.popleft()
                request_id = f"{next(numbers)}"
                running[request_id] = _Open(client, client.next_at, now)
                try:
                    engine.add(request_id, _work(workload, client.chance, seed))
                except RequestError as error:
                    raise Broken(f"the engine refuses {workload.name}: {error}") from None
            if not running:
                time.sleep(max(0.0, waiting[0].next_at - now))
                continue
            outputs = engine.step()
            after = time.perf_counter()
            self.steps.append(after - now)
            self.outside.append(after - now - getattr(engine, "run_seconds", 0.0))
            for output in outputs:
                if (record := _take(output, running, workload.name, after)) is None:
                    continue
                turn.records.append(record)
                keep(record)
                client = running.pop(output.request_id).client
                if client.left:
                    client.left -= 1
                    client.next_at = after
                    waiting.appendleft(client)
        turn.seconds = time.perf_counter() - began
        return turn


def _clients(level: Level, amount: Amount, seed: int, began: float) -> list[Client]:
    """Those of a closed loop, or one for each random arrival; in the order of their start."""
    if not level.rate:
        return [
            Client(Random(seed * 10_000 + number), amount.requests - 1, began)
            for number in range(level.clients)
        ]
    times, texts = Random(seed), Random(f"texts {seed}")
    return [
        Client(Random(texts.random()), 0, began + after)
        for after in arrivals(level.rate, amount.seconds, amount.requests, times)
    ]


def _work(workload: Workload, chance: Random, seed: int) -> Work:
    body = Conversation(workload, "", chance, seed).body()
    sampling = SamplingParams(
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        ignore_eos=bool(body.get("ignore_eos")),
    )
    return Work(Chat(tuple(body["messages"])), sampling)


def _take(
    output: Output | Rejected, running: dict[str, _Open], name: str, now: float
) -> Record | None:
    """Notes an output's time. The record of its request, if it was the last one."""
    request = running[output.request_id]
    wall = time.time() - (now - request.began)
    took, waited = now - request.began, request.sent - request.began
    if isinstance(output, Rejected):
        return Record(name, wall, End.ERROR, took, waited, error=output.message)
    if output.made and request.first is None:
        request.first = request.last = now
    elif output.made:
        request.gaps.append(now - request.last)
        request.last = now
    if (usage := output.usage) is None:
        return None
    tokens = usage.completion_tokens
    first = request.first if request.first is not None else now
    return Record(
        name,
        wall,
        End.OK,
        took,
        waited,
        ttft=first - request.began,
        tpot=(now - first) / (tokens - 1) if tokens > 1 else None,
        gaps=request.gaps,
        tokens=tokens,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        accepted_drafts=usage.accepted_prediction_tokens,
        rejected_drafts=usage.rejected_prediction_tokens,
    )
