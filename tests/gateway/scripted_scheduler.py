"""The scheduler's side of the wire, under a test's control: a real ROUTER socket in a thread.

By default it says that one worker is there and answers every request with a few words. A test can
take that over with ``script``, or set it to None and answer by hand.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove
from cupola.scheduler.protocol.messages import (
    Chat,
    Done,
    FinishReason,
    LoadModel,
    Output,
    Outputs,
    Query,
    Status,
    Submit,
    UnloadModel,
    Usage,
    WorkerStatus,
    decode_to_scheduler,
    decode_work,
    encode,
)

WAIT = 10.0  # seconds after which a test gives up; never waited for when all is well
WORKER = WorkerStatus("cpu:0/0", ExecutionProvider.CPU, pid=1)
Script = Callable[[Any], Iterable[Any]]
M = TypeVar("M")


def words(request: Any) -> Iterable[Any]:
    """A streamed answer of three words, or Done."""
    match request:
        case Submit(request_id):
            yield Outputs((Output(request_id, "One"),))
            yield Outputs((Output(request_id, " two"),))
            usage = Usage(prompt_tokens=5, completion_tokens=3, cached_tokens=2)
            yield Outputs((Output(request_id, " three.", FinishReason.STOP, usage),))
        case LoadModel(request_id) | UnloadModel(request_id):
            yield Done(request_id)


class ScriptedScheduler:
    def __init__(self, endpoint: Endpoint | None = None, epoch: str = "first") -> None:
        self._owns = endpoint is None
        self.endpoint = endpoint or local_endpoint()
        self.script: Script | None = words
        self.status: Status | None = Status(epoch, workers=(WORKER,))
        self.seen: queue.Queue[Any] = queue.Queue()  # all but Query
        self.peer = b""
        self._context = zmq.Context()
        self._outbox: queue.Queue[Any] = queue.Queue()
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
        """Die; another life can follow at the same endpoint."""
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

    def send(self, *messages: Any) -> None:
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
            if self.status is not None:
                self._reply(self.status)
            return
        self.seen.put(message)
        if self.script is not None:
            for reply in self.script(message):
                self._reply(reply)

    def _reply(self, message: Any) -> None:
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
