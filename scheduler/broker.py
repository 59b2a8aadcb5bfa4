"""The scheduler process: one ROUTER socket around ``core.Scheduler``."""

from __future__ import annotations

import logging
import math
import os
import time
import uuid

import zmq

from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.commands import BEAT_SECONDS, Commands
from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.scheduler.protocol.messages import Ready, decode_to_scheduler, encode
from cupola.scheduler.protocol.pool import DRAINED, LEFT, POOL, pool_of
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send, joined

logger = logging.getLogger(__name__)

# As numbers: combining pyzmq's own takes longer than a send.
_NOBLOCK, _SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)
FRAMES_AT_ONCE = 64  # that are taken in before what they lead to is sent
JOINED_BYTES = 1024 * 1024  # of frames whose outputs may go on in one: frames have a limit


def run(policy: SchedulerPolicy, endpoint: Endpoint, commands: Commands) -> None:
    """Serve until the supervisor sends ``stop``."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.router_mandatory = True  # a peer that is gone is an error, not a silent drop
        socket.router_handover = True
        endpoint.serve(socket)
        scheduler = Scheduler(policy, epoch=uuid.uuid4().hex, pid=os.getpid())
        Broker(scheduler, socket, commands).run()


class Broker:
    """Feeds the scheduler with frames, commands and the time, and sends what it answers."""

    def __init__(self, scheduler: Scheduler, peers: zmq.Socket[bytes], commands: Commands) -> None:
        self.scheduler = scheduler
        self.peers = peers
        self.commands = commands
        self.poller = zmq.Poller()
        self.poller.register(peers, zmq.POLLIN)
        self.poller.register(commands.fileno(), zmq.POLLIN)
        # Asks for further frames: a receive that finds none raises, which takes thrice the time.
        self._frames = zmq.Poller()
        self._frames.register(peers, zmq.POLLIN)

    def run(self) -> None:
        commands = self.commands.fileno()
        ticked = -math.inf
        while True:
            self.commands.beat()
            due = min(ticked + BEAT_SECONDS, self.scheduler.next_deadline() or math.inf)
            ready = dict(self.poller.poll(_milliseconds(due - time.monotonic())))
            began = time.monotonic()
            for line in self.commands.read() if commands in ready else ():
                if line == "stop":
                    return
                self._on_command(line)
            if self.peers in ready:
                self._receive_all()
            if began >= due:
                ticked = began
                self._send(self.scheduler.tick(time.monotonic()))
            for name in self.scheduler.drained():
                logger.info("worker %s has nothing left to do", name)
                self.commands.tell(f"{DRAINED} {name}")
            self.scheduler.measurements.turn(time.monotonic() - began)

    def _on_command(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        now = time.monotonic()
        if verb == "lost":
            logger.info("worker %s is lost", rest)
            self._send(self.scheduler.process_ended(rest, now))
        elif verb == LEFT:
            self._send(self.scheduler.process_left(rest, now))
        elif verb == POOL:
            self._send(self.scheduler.expect(pool_of(rest), now))

    def _receive_all(self) -> None:
        """Take in what has come, then send: between two frames, a send would wake ZeroMQ's thread.

        What is left of many frames, the next turn takes.
        """
        sends: list[Send] = []
        size = 0
        for _ in range(FRAMES_AT_ONCE):
            peer = self.peers.recv(_NOBLOCK)
            frame = self.peers.recv(_NOBLOCK, copy=False)
            size += len(frame)
            try:
                message = decode_to_scheduler(self._only(frame))
            except ValueError as error:
                self.scheduler.malformed()
                name = peer.decode(errors="backslashreplace")
                logger.warning("dropped a frame of %s: %s", name, error)
            else:
                if isinstance(message, Ready):
                    logger.info("worker %s joined", message.name)
                sends += self.scheduler.receive(peer, message, time.monotonic())
            if not self._frames.poll(0):
                break
        self._send(joined(sends) if size <= JOINED_BYTES else sends)

    def _only(self, frame: zmq.Frame) -> bytes:
        """The bytes of a message that has one frame, as all have. Raises ValueError."""
        if not frame.more:
            return frame.bytes
        while self.peers.get(zmq.RCVMORE):
            self.peers.recv(_NOBLOCK)
        raise ValueError("several frames, where one is expected")

    def _send(self, sends: list[Send]) -> None:
        for peer, message in sends:
            try:
                self.peers.send(peer, _NOBLOCK | _SNDMORE)
                self.peers.send(encode(message), _NOBLOCK)
            except zmq.ZMQError as error:
                logger.info("peer %s is gone: %s", peer.decode(errors="replace"), error)
                self._send(self.scheduler.unreachable(peer, time.monotonic()))


def _milliseconds(seconds: float) -> int:
    return math.ceil(max(0.0, seconds) * 1000)
