"""A process by itself, over real sockets: it survives any frame, and says that its loop turns."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.commands import ALIVE, LONG_TURN, STARTED
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove
from cupola.scheduler.protocol.lines import LineBuffer
from cupola.scheduler.protocol.messages import (
    Query,
    Ready,
    Rejoin,
    Status,
    decode_to_gateway,
    decode_to_scheduler,
    encode,
)
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.service import children
from cupola.service.output.logs import LogOptions
from cupola.workers.engine_options import EngineOptions
from cupola.workers.main import WorkerConfig

WAIT = 30.0
CPU = ExecutionProvider.CPU
HOSTILE = [
    b"",
    b"\xc1",
    b"not a message",
    b"\x91" * 2_000,
    b"\x91" * 2_000 + b"\x90",
    b"\x81\xa7outputs" * 2_000 + b"\x90",
    b"\x82\xa4type\xa7Outputs\xa1x" + b"\x91" * 2_000 + b"\x90",
    msgspec.msgpack.encode({"type": "Submit", "model": {}}),
    msgspec.msgpack.encode({"type": "Unknown"}),
]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = local_endpoint()
    yield endpoint
    remove(endpoint)


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[socket.socket]:
    """The supervisor's end of the lifeline of a child. It must end when it is told to stop."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    child = multiprocessing.get_context("spawn").Process(
        target=target, args=(theirs, LogOptions("warning"), *arguments)
    )
    child.start()
    theirs.close()
    with ours:
        try:
            yield ours
            ours.sendall(b"stop\n")
            child.join(WAIT)
            assert child.exitcode == 0
        finally:
            child.kill()
            child.join()
            child.close()


@contextmanager
def peer(kind: int) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(kind) as sock:
        sock.rcvtimeo = int(WAIT * 1000)
        yield sock


def beats(lifeline: socket.socket, count: int) -> list[str]:
    buffer, lines = LineBuffer(), list[str]()
    while len(lines) < count:
        lines += buffer.feed(lifeline.recv(4096))
    return lines


@pytest.mark.slow
def test_the_scheduler(endpoint: Endpoint) -> None:
    policy = SchedulerPolicy(workers={"cpu:0/0": CPU})
    with (
        process(children.scheduler, policy, endpoint) as lifeline,
        peer(zmq.DEALER) as gateway,
    ):
        endpoint.join(gateway)
        for frame in HOSTILE:
            gateway.send(frame)
        gateway.send_multipart([b"one", b"too many", encode(Query())])
        gateway.send(encode(Query()))
        assert isinstance(decode_to_gateway(gateway.recv()), Status)
        assert set(beats(lifeline, 2)) == {ALIVE}  # although nothing else happens


@pytest.mark.slow
def test_a_worker(endpoint: Endpoint, tmp_path: Path) -> None:
    model = LocalModel("model:1", str(tmp_path), CPU)
    config = WorkerConfig("cpu:0/0", CPU, EngineOptions("echo"), 600.0, (model,))
    with peer(zmq.ROUTER) as scheduler:
        endpoint.serve(scheduler)
        with process(children.worker, config, endpoint.without_secret()) as lifeline:
            name, frame = scheduler.recv_multipart()
            assert isinstance(decode_to_scheduler(frame), Ready)
            for hostile in HOSTILE:
                scheduler.send_multipart([name, hostile])
            scheduler.send_multipart([name, encode(Rejoin())])
            while not isinstance(decode_to_scheduler(scheduler.recv_multipart()[1]), Ready):
                pass  # heartbeats
            first, *others = beats(lifeline, 3)
            assert first == LONG_TURN  # said before the load, in which the process may be silent
            assert set(others) == {ALIVE, STARTED}
