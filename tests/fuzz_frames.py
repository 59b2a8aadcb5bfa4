"""Random and mutated frames at the sockets of each process: none ends it or passes for another.

    python -m tests.fuzz_frames --frames 1000000 [scheduler worker gateway]

Each process is a real one with its real socket. After every batch it must still answer a proper
message. The account says how many frames were sent, and how many of them were messages by chance.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.config import GatewayConfig
from cupola.scheduler.protocol.endpoint import Endpoint, local_endpoint, remove
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    MalformedFrameError,
    Message,
    Outcome,
    Outputs,
    Postponed,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Status,
    Submit,
    UnloadModel,
    decode_to_gateway,
    decode_to_scheduler,
    decode_to_worker,
    encode,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.status import WorkerStatus
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.service import children
from cupola.service.output.logs import LogOptions
from cupola.workers.engine_options import EngineOptions
from cupola.workers.main import WorkerConfig

WAIT = 60.0
BATCH = 2_000  # frames between two proper messages
CPU = ExecutionProvider.CPU
MODEL = LocalModel("model:1", "/nowhere", CPU)
SEEDS: tuple[Message, ...] = (
    Submit("r", MODEL, msgspec.Raw(b"\xc0"), 1.0, "tenant"),
    LoadModel("r", MODEL),
    UnloadModel("r", "model:1"),
    Abort("r", Outcome.ABORTED),
    Query(1, {Outcome.FAILED: 2}),
    Heartbeat(1, ("model:1",), ()),
    Postponed(("r",)),
    Outputs((Output("r", "text", FinishReason.STOP, Usage(1, 2, 3)),)),
    Rejected("r", ErrorCode.INTERNAL, "text"),
    Done("r"),
    Status("epoch", 1, 2, (WorkerStatus("cpu:0/0", CPU, 1),)),
    Rejoin(),
)


class Account(NamedTuple):
    process: str
    sent: int
    messages: int  # of them, that decode
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.process:10} sent {self.sent}, messages by chance {self.messages}, "
            f"{self.seconds:.0f} s: it lives and answers"
        )


def mutated(rng: random.Random) -> bytes:
    """A frame that is noise, or a message with some of it changed, cut out, doubled or joined."""
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(64))
    frame = bytearray(encode(rng.choice(SEEDS)))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(frame) + 1)
        match rng.randrange(6):
            case 0 if frame:
                frame[at % len(frame)] = rng.randrange(256)
            case 1 if frame:
                frame[at % len(frame)] ^= 1 << rng.randrange(8)
            case 2:
                frame[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                del frame[at : at + rng.randrange(1, 9)]
            case 4:
                frame[at:at] = encode(rng.choice(SEEDS))
            case _:
                frame[at:at] = frame[: rng.randrange(len(frame) + 1)]
    return bytes(frame)


def frames(count: int, seed: int, decode: Callable[[bytes], Any]) -> Iterator[tuple[bytes, bool]]:
    """Frames, and whether each is a message after all. Each either decodes or is refused.

    What would say goodbye in the name of the sender, or begin a load, is left out.
    """
    rng = random.Random(seed)
    left = count
    while left:
        frame = mutated(rng)
        try:
            message = decode(frame)
        except MalformedFrameError:
            yield frame, False
        else:
            if isinstance(message, Goodbye | Ready | LoadModel | Submit):
                continue
            yield frame, True
        left -= 1


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """A child of the service, until the end of the block. It must not end before."""
    ours, theirs = socket.socketpair()
    child = multiprocessing.get_context("spawn").Process(
        target=target, args=(theirs, LogOptions("error"), *arguments)
    )
    child.start()
    theirs.close()
    ours.setblocking(False)
    try:
        yield
        if not child.is_alive():
            raise AssertionError(f"the process ended with status {child.exitcode}")
    finally:
        ours.close()
        child.kill()
        child.join()
        child.close()


@contextmanager
def own_socket(kind: int) -> Iterator[tuple[zmq.Socket[bytes], Endpoint]]:
    endpoint = local_endpoint()
    try:
        with zmq.Context() as context, context.socket(kind) as peer:
            peer.rcvtimeo = peer.sndtimeo = int(WAIT * 1000)
            yield peer, endpoint
    finally:
        remove(endpoint)


def fuzz_scheduler(count: int, seed: int = 0) -> Account:
    began, messages, dropped = time.monotonic(), 0, 0
    with own_socket(zmq.DEALER) as (peer, endpoint):
        policy = SchedulerPolicy(workers={"cpu:0/0": CPU})
        with process(children.scheduler, policy, endpoint):
            endpoint.join(peer)
            for number, (frame, valid) in enumerate(frames(count, seed, decode_to_scheduler), 1):
                peer.send(frame)
                messages += valid
                if number % BATCH == 0 or number == count:
                    peer.send(encode(Query(10**9 + number)))
                    dropped = _status(peer, 10**9 + number).totals.malformed_frames
    if dropped != count - messages:
        raise AssertionError(f"{count - messages} frames were malformed, {dropped} were dropped")
    return Account("scheduler", count, messages, time.monotonic() - began)


def _status(peer: zmq.Socket[bytes], number: int) -> Status:
    """The answer to the Query of that number. To heartbeats it is told to rejoin, as a worker."""
    while True:
        frame = peer.recv()
        if frame == encode(Rejoin()):
            continue
        message = decode_to_gateway(frame)
        if isinstance(message, Status) and message.answers == number:
            return message


def fuzz_worker(count: int, seed: int = 0) -> Account:
    began, messages = time.monotonic(), 0
    config = WorkerConfig("cpu:0/0", CPU, EngineOptions("echo"), 600.0)
    with own_socket(zmq.ROUTER) as (peer, endpoint):
        endpoint.serve(peer)
        with process(children.worker, config, endpoint.without_secret()):
            name, _ = peer.recv_multipart()
            for number, (frame, valid) in enumerate(frames(count, seed, decode_to_worker), 1):
                peer.send_multipart([name, frame])
                messages += valid
                if number % BATCH == 0 or number == count:
                    peer.send_multipart([name, encode(Rejoin())])
                    while not isinstance(decode_to_scheduler(peer.recv_multipart()[1]), Ready):
                        pass
    return Account("worker", count, messages, time.monotonic() - began)


def fuzz_gateway(count: int, seed: int = 0) -> Account:
    began, messages = time.monotonic(), 0
    with (
        tempfile.TemporaryDirectory() as home,
        socket.create_server(("127.0.0.1", 0)) as listener,
        own_socket(zmq.ROUTER) as (peer, endpoint),
    ):
        config = GatewayConfig(
            scheduler=endpoint.without_secret(),
            home=Path(home),
            model="",
            max_body_bytes=10_000,
            grace_seconds=1.0,
            host="127.0.0.1",
            port=listener.getsockname()[1],
            supervisor_pid=0,
        )
        endpoint.serve(peer)
        with process(children.gateway, config, (listener,)):
            name, _ = peer.recv_multipart()
            for number, (frame, valid) in enumerate(frames(count, seed, decode_to_gateway), 1):
                peer.send_multipart([name, frame])
                messages += valid
                if number % BATCH == 0 or number == count:
                    while not isinstance(decode_to_scheduler(peer.recv_multipart()[1]), Query):
                        pass
                    _ask_health(config.port)
    return Account("gateway", count, messages, time.monotonic() - began)


def _ask_health(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), WAIT) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if b" 200 " not in connection.recv(64):
            raise AssertionError("the gateway does not answer")


FUZZERS = {"scheduler": fuzz_scheduler, "worker": fuzz_worker, "gateway": fuzz_gateway}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("process", nargs="*", help="all three by default")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for name in asked.process or FUZZERS:
        print(FUZZERS[name](asked.frames, asked.seed), flush=True)


if __name__ == "__main__":
    main()
