"""The scheduler's loop, with real sockets."""

from __future__ import annotations

import threading
from pathlib import Path

import zmq

from cupola.scheduler.broker import FRAMES_AT_ONCE, Broker
from cupola.scheduler.core import Scheduler
from cupola.scheduler.policy import SchedulerPolicy
from cupola.scheduler.protocol.commands import Commands
from cupola.scheduler.protocol.messages import Query, Status, decode_to_gateway, encode

SECONDS = 60_000  # in ms: more than any answer takes


def test_every_frame_of_many_that_wait_is_answered_in_order(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/scheduler"
    commands = Commands(lambda line: None)
    count = 3 * FRAMES_AT_ONCE + 1
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as peers,
        context.socket(zmq.DEALER) as gateway,
    ):
        peers.bind(address)
        gateway.identity = b"gateway-1"
        gateway.connect(address)
        for number in range(1, count + 1):
            gateway.send(encode(Query(number)))
        peers.poll(SECONDS)  # they are there before the loop begins
        scheduler = Scheduler(SchedulerPolicy({}), epoch="epoch")
        loop = threading.Thread(target=Broker(scheduler, peers, commands).run)
        loop.start()
        answered: list[int] = []
        while len(answered) < count and gateway.poll(SECONDS):
            message = decode_to_gateway(gateway.recv())
            answered += [message.answers] if isinstance(message, Status) else []
        commands.put("stop")
        loop.join()
    commands.close()
    assert answered == list(range(1, count + 1))
