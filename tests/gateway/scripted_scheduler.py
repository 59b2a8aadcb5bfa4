"""A scheduler that a test controls: a real ROUTER socket in a thread.

By default it has one worker and answers every request with a few words. A test can replace the
``script``, or set it to None and answer with ``send``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import zmq
from msgspec.structs import replace

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove
from cupola.scheduler.protocol.messages import (
    Done,
    FromGateway,
    LoadModel,
    Outputs,
    Query,
    Status,
    Submit,
    ToGateway,
    UnloadModel,
    decode_to_scheduler,
    decode_work,
    encode,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.status import WorkerStatus
from cupola.scheduler.protocol.tasks import Chat

WAIT = 60.0  # seconds after which a test gives up; never waited for when all is well
WORKER = WorkerStatus("cpu:0/0", ExecutionProvider.CPU, pid=1)
FIRST = Status("first", workers=(WORKER,))
SECOND = Status("second", workers=(WORKER,))  # of another scheduler, after a restart
# From a message to its answers. Bytes are sent as they are.
Script = Callable[[Any], Iterable[ToGateway | bytes]]
M = TypeVar("M")


def words(message: FromGateway) -> Iterable[ToGateway]:
    """A streamed answer of three words, or Done."""
    match message:
        case Submit(request_id):
            read = Usage(prompt_tokens=5, completion_tokens=1, cached_tokens=2)
            yield Outputs((Output(request_id, "One", prompt_usage=read),))
            yield Outputs((Output(request_id, " two"),))
            usage = Usage(prompt_tokens=5, completion_tokens=3, cached_tokens=2)
            yield Outputs((Output(request_id, " three.", FinishReason.STOP, usage),))
        case LoadModel(request_id) | UnloadModel(request_id):
            yield Done(request_id)


class ScriptedScheduler:
    """``script``: None answers nothing. ``status``: the answer to Query, None for none."""

    def __init__(
        self,
        endpoint: Endpoint | None = None,
        script: Script | None = words,
        status: Status | None = FIRST,
    ) -> None:
        self._owns = endpoint is None
        self.endpoint = endpoint or local_endpoint()
        self.script = script
        self.status = status
        self.seen: queue.Queue[Any] = queue.Queue()  # all but Query
        self.peer = b""
        self.on_query: Callable[[Query], object] = lambda query: None
        self._context = zmq.Context()
        self._outbox: queue.Queue[ToGateway | bytes] = queue.Queue()
        self._ours = self._context.socket(zmq.PAIR)
        self._theirs = self._context.socket(zmq.PAIR)
        self._ours.bind("inproc://wake")
        self._theirs.connect("inproc://wake")
        self._router = self._context.socket(zmq.ROUTER)
        self._router.router_handover = True
        self.endpoint.serve(self._router)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End. Another scheduler can follow at the same endpoint."""
        self._ours.send(b"stop")
        self._thread.join(WAIT)
        self._ours.close(0)
        self._context.term()

    def __enter__(self) -> ScriptedScheduler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        if self._owns:
            remove(self.endpoint)

    def next(self, kind: type[M]) -> M:
        """The next message from the gateway, which must be a ``kind``."""
        message = self.seen.get(timeout=WAIT)
        assert isinstance(message, kind), message
        return message

    def send(self, *messages: ToGateway | bytes) -> None:
        for message in messages:
            self._outbox.put(message)
        self._ours.send(b"send")

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._theirs, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._router in ready:
                self.peer, frame = self._router.recv_multipart()
                self._answer(decode_to_scheduler(frame))
            if self._theirs in ready:
                if self._theirs.recv() == b"stop":
                    break
                while not self._outbox.empty():
                    self._reply(self._outbox.get())
        self._router.close(0)
        self._theirs.close(0)

    def _answer(self, message: Any) -> None:
        if isinstance(message, Query):
            self.on_query(message)
            if self.status is not None:
                self._reply(replace(self.status, answers=message.number))
            return
        self.seen.put(message)
        if self.script is not None:
            for reply in self.script(message):
                self._reply(reply)

    def _reply(self, message: ToGateway | bytes) -> None:
        frame = message if isinstance(message, bytes) else encode(message)
        self._router.send_multipart([self.peer, frame])


def last(request_id: str, text: str = "") -> Outputs:
    """The end of an answer."""
    return Outputs((Output(request_id, text, FinishReason.STOP, Usage(1, 1)),))


def work_of(submit: Submit) -> Any:
    """The work in a Submit."""
    work = decode_work(submit.work)
    assert isinstance(work.prompt, Chat)
    return work
