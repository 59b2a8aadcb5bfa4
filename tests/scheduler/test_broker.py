"""The scheduler's loop, with real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.broker import FRAMES_AT_ONCE, JOINED_BYTES, Broker
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.commands import Commands
from cupola.scheduler.protocol.messages import (
    Outputs,
    Query,
    Ready,
    Status,
    Submit,
    decode_to_gateway,
    decode_to_worker,
    encode,
    encode_work,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy

SECONDS = 60_000  # in ms: more than any answer takes
Peers = tuple[zmq.Socket[bytes], Scheduler]


@contextmanager
def running(folder: Path, before: Callable[[zmq.Socket[bytes]], None]) -> Iterator[Peers]:
    """A broker, and a gateway that has sent ``before`` the loop begins."""
    address = f"ipc://{folder}/scheduler"
    commands = Commands(lambda line: None)
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as peers,
        context.socket(zmq.DEALER) as gateway,
    ):
        peers.bind(address)
        gateway.identity = b"gateway-1"
        gateway.connect(address)
        before(gateway)
        peers.poll(SECONDS)
        scheduler = Scheduler(SchedulerPolicy({}), epoch="epoch")
        loop = threading.Thread(target=Broker(scheduler, peers, commands).run)
        loop.start()
        try:
            yield gateway, scheduler
        finally:  # else the end of the context would wait for the loop's socket
            commands.put("stop")
            loop.join()
    commands.close()


def answers(gateway: zmq.Socket[bytes], count: int) -> list[int]:
    """The numbers of the queries that are answered, ``count`` of them."""
    answered: list[int] = []
    while len(answered) < count and gateway.poll(SECONDS):
        message = decode_to_gateway(gateway.recv())
        # Those that answer no query come with time.
        if isinstance(message, Status) and message.answers:
            answered.append(message.answers)
    return answered


def test_every_frame_of_many_that_wait_is_answered_in_order(tmp_path: Path) -> None:
    count = 3 * FRAMES_AT_ONCE + 1

    def send(gateway: zmq.Socket[bytes]) -> None:
        for number in range(1, count + 1):
            gateway.send(encode(Query(number)))

    with running(tmp_path, send) as (gateway, _):
        assert answers(gateway, count) == list(range(1, count + 1))


def test_a_message_of_several_frames_is_dropped_whole(tmp_path: Path) -> None:
    def send(gateway: zmq.Socket[bytes]) -> None:
        gateway.send(encode(Query(1)))
        gateway.send_multipart([encode(Query(2)), encode(Query(3)), b""])
        gateway.send_multipart([b"", encode(Query(4))])
        gateway.send(encode(Query(5)))

    with running(tmp_path, send) as (gateway, scheduler):
        assert answers(gateway, 2) == [1, 5]
        assert scheduler.status(0.0).totals.malformed_frames == 2


@pytest.mark.parametrize("size", [1, JOINED_BYTES // 2])
def test_outputs_that_wait_go_on_whole_and_in_order(tmp_path: Path, size: int) -> None:
    """One socket is gateway and worker here, so that the frames come in the order of the test."""
    count = 8
    texts = [chr(ord("a") + number) * size for number in range(count)]
    model = LocalModel("m:1", "/m", ExecutionProvider.CPU)

    def send(both: zmq.Socket[bytes]) -> None:
        both.maxmsgsize = JOINED_BYTES
        both.send(encode(Ready("cpu:0/0", model.provider, pid=1, slots=1)))
        both.send(encode(Submit("r", model, encode_work(Work(Text("Hello"))))))
        for text in texts:
            both.send(encode(Outputs((Output("r", text),))))

    with running(tmp_path, send) as (both, _):
        came: list[str] = []
        while len(came) < count and both.poll(SECONDS):
            frame = both.recv()
            try:
                message = decode_to_gateway(frame)
            except ValueError:
                assert isinstance(decode_to_worker(frame), Submit)
                continue
            if isinstance(message, Outputs):
                came += [output.text for output in message.outputs]
        assert came == texts
