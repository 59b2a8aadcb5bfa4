"""What the gateway asks the scheduler, and who gets the answers, for asyncio.

Decisions are in ``calls.Calls``; ``scheduler_socket`` moves frames. This module reads the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from cupola.gateway.core.calls import Calls, Reply, new_request_id
from cupola.gateway.core.counting import counted_below
from cupola.gateway.core.mailbox import Mailbox
from cupola.gateway.core.scheduler_socket import SchedulerSocket
from cupola.gateway.http.errors import RequestFailed
from cupola.gateway.http.served import Finished, Served, served
from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.scheduler.protocol.messages import (
    ErrorCode,
    LoadModel,
    Outcome,
    Query,
    Status,
    Submit,
    Turn,
    UnloadModel,
    decode_to_gateway,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel

logger = logging.getLogger(__name__)

HEARTBEAT = 1.0  # seconds between queries
PATIENCE = 3.0  # seconds in which a scheduler that works answers a query
IDLE = 15.0  # seconds without output after which a reader of outputs gets an empty batch


class SchedulerClient:
    """Sends requests to the scheduler and hands each answer to its caller. See ``connected``."""

    def __init__(self, socket: SchedulerSocket) -> None:
        self._socket = socket
        socket.take = self._receive
        self._calls = Calls(time.monotonic())
        self._serving = asyncio.Event()
        self._queries = 0  # how many were sent
        self._asking: dict[int, asyncio.Future[Status]] = {}  # by the query's number
        self._ended = Counter[Outcome]()  # requests that the scheduler is to count
        self._http = Counter[int]()  # answers that it is to count, by status

    @classmethod
    @asynccontextmanager
    async def connected(cls, endpoint: Endpoint) -> AsyncIterator[SchedulerClient]:
        """A client that works as long as the block runs. If it fails, the block is cancelled."""
        with SchedulerSocket.connected(endpoint) as socket:
            client = cls(socket)
            async with asyncio.TaskGroup() as tasks:
                query = tasks.create_task(client._query())
                with socket.watched():
                    owned = [query, tasks.create_task(socket.failed())]
                    try:
                        yield client
                    finally:
                        for task in owned:
                            task.cancel()

    @property
    def status(self) -> Status | None:
        """The newest Status of the scheduler; None: there was none yet.

        Which workers and models there are is never old. Numbers may be a second old.
        """
        return self._calls.status

    @property
    def chooses(self) -> bool:
        """Whether there are several workers among which the scheduler chooses."""
        return self.status is not None and len(self.status.workers) > 1

    async def status_now(self, patience: float = PATIENCE) -> Status | None:
        """The Status after all that was sent until now; None: the scheduler does not answer."""
        number = self._ask()
        answer = self._asking[number] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(answer, patience)
        except TimeoutError:
            return None
        finally:
            del self._asking[number]

    def count(self, outcome: Outcome) -> None:
        """Have a request counted that has ended here and never came to the scheduler."""
        self._ended[outcome] += 1

    def count_answer(self, request: Finished) -> None:
        """Have an HTTP answer counted."""
        self._http[request.status] += 1

    async def serving(self) -> None:
        """Wait until the scheduler has had a worker."""
        await self._serving.wait()

    async def generate(
        self,
        model: LocalModel,
        work: msgspec.Raw,
        ttl: float | None = None,
        *,
        tenant: str,
        turn: Turn,
        beginnings: tuple[bytes, ...] = (),
        size: int = 0,
    ) -> AsyncGenerator[list[Output]]:
        """The outputs of ``work``, an encoded Task. A batch holds those that came together.

        An empty batch means that nothing came for IDLE seconds. ``ttl`` and what follows are those
        of Submit. Raises RequestFailed. Whoever stops reading before the end
        must close the generator (``contextlib.aclosing``), which aborts the request.
        """
        counted_below()
        about = served()
        if about is not None:
            about.model = model.id
            about.submitted = about.submitted or time.perf_counter()
        message = Submit(new_request_id(), model, work, ttl, tenant, turn, beginnings, size)
        replies: Mailbox[Reply] = Mailbox()
        call = self._calls.open(message, replies.put, time.monotonic())
        try:
            self._socket.send([message])
            while True:
                batch = await replies.take(IDLE)
                outputs = [reply for reply in batch if isinstance(reply, Output)]
                if about is not None:
                    _note(about, outputs)
                last = batch[-1] if batch else None
                if isinstance(last, RequestFailed):
                    if outputs:
                        yield outputs
                    raise last
                yield outputs
                if outputs and outputs[-1].last:
                    return
        finally:
            replies.close()
            self._socket.send(self._calls.close(call))

    async def load(self, model: LocalModel, ttl: float | None = None) -> None:
        """Load ``model`` on some worker. Raises RequestFailed."""
        await self._call(LoadModel(new_request_id(), model, ttl))

    async def unload(self, model_id: str, force: bool = True) -> None:
        """Unload ``model_id`` on every worker once it is idle. Raises RequestFailed.

        Without ``force`` a model stays if it is pinned or was loaded for a given time.
        """
        await self._call(UnloadModel(new_request_id(), model_id, force))

    def end_all(self, code: ErrorCode, text: str) -> None:
        """End every open request with an error."""
        if count := len(self._calls):
            logger.warning("ending %d open requests: %s", count, text)
        self._socket.send(self._calls.fail_all(code, text))

    async def _call(self, message: LoadModel | UnloadModel) -> None:
        replies: Mailbox[Reply] = Mailbox()
        call = self._calls.open(message, replies.put, time.monotonic())
        try:
            self._socket.send([message])
            [reply] = await replies.take()
            if isinstance(reply, RequestFailed):
                raise reply
        finally:
            self._socket.send(self._calls.close(call))

    def _receive(self, frame: bytes) -> None:
        try:
            message = decode_to_gateway(frame)
        except ValueError as error:
            logger.warning("dropped a frame: %s", error)
            return
        self._socket.send(self._calls.receive(message, time.monotonic()))
        if isinstance(message, Status):
            if message.workers:
                self._serving.set()
            for number, answer in self._asking.items():
                if number <= message.answers and not answer.done():
                    answer.set_result(message)

    async def _query(self) -> None:
        while True:
            self._socket.drain()  # after a stall of this loop, frames may be waiting
            self._socket.send(self._calls.tick(time.monotonic()))
            self._ask()
            await asyncio.sleep(HEARTBEAT)

    def _ask(self) -> int:
        """Send a query. Returns its number."""
        self._queries += 1
        ended, self._ended = dict(self._ended), Counter()
        http, self._http = dict(self._http), Counter()
        self._socket.send([Query(self._queries, ended, http, os.getpid())])
        return self._queries


def _note(about: Served, outputs: Iterable[Output]) -> None:
    """For the log: when the first output came, and the tokens. Several prompts are added up."""
    for output in outputs:
        if not about.first_output and output.progress is None:
            about.first_output = time.perf_counter()
        if output.usage is not None:
            about.prompt_tokens += output.usage.prompt_tokens
            about.cached_tokens += output.usage.cached_tokens
            about.completion_tokens += output.usage.completion_tokens
            about.last_output = time.perf_counter()
        if output.last and output.timings is not None:
            about.prompt_seconds = output.timings.prompt_seconds
            about.generation_seconds = output.timings.generation_seconds
