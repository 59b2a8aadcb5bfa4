"""The worker process: a DEALER socket, and the loop that steps the engines."""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.disk import uses
from cupola.cache.home import Home
from cupola.scheduler.protocol.commands import ALIVE, LONG_TURN, Commands
from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.scheduler.protocol.messages import FromWorker, decode_to_worker, encode
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.machine import (
    map_large_blocks,
    memory_bytes,
    release_memory,
    use_only,
)
from cupola.workers.device.mapped_files import drop_pages
from cupola.workers.engine_options import EngineOptions
from cupola.workers.folder_watch import FolderWatch
from cupola.workers.loader import Loader
from cupola.workers.model_memory import ModelMemory
from cupola.workers.planning.slot_count import FIRST
from cupola.workers.residency import Residency
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker

logger = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 1.0
UPKEEP_SECONDS = 0.01  # between two rounds of all that is not a step, while there are steps
_NOBLOCK, _POLLIN = int(zmq.NOBLOCK), int(zmq.POLLIN)
NOTE_SECONDS = 3600.0  # between two notes on the disk that a model is in memory


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    name: str  # e.g. "cpu:0/1": the second worker on the first CPU device
    provider: ExecutionProvider
    engine: EngineOptions
    model_ttl: float  # seconds
    preload: tuple[LocalModel, ...] = ()  # the first is loaded before the worker sends Ready
    pinned: frozenset[str] = frozenset()  # ids of models that time never unloads
    fatal: tuple[str, ...] = ()  # ids of models whose loads ended the processes before this one
    home: Home | None = None  # where it is noted when a model was in memory; None: nowhere
    cpus: tuple[int, ...] = ()  # the processors that it may use; empty: all
    memory_bytes: int = 0  # the most that its models may make it take; 0: all that there is
    only: frozenset[str] = frozenset()  # ids of the only models that it runs; empty: all


def run(config: WorkerConfig, endpoint: Endpoint, commands: Commands) -> None:
    """Serve until the supervisor sends ``stop``."""
    map_large_blocks()
    _bind(config)
    with zmq.Context() as context, context.socket(zmq.DEALER) as scheduler:
        # A new identity for each process: the scheduler must not take it for the one before it.
        scheduler.identity = f"worker-{config.name}-{uuid.uuid4().hex[:8]}".encode()
        endpoint.join(scheduler)
        Loop(config, scheduler, commands).run()


def _bind(config: WorkerConfig) -> None:
    """Before there are threads: each has the processors of the one that starts it."""
    if config.cpus:
        try:
            use_only(config.cpus)
        except OSError as error:
            logger.warning("the worker runs on any processor, not on %s: %s", config.cpus, error)


class Loop:
    """Feeds the worker with frames, finished loads and the time, and sends what it answers."""

    def __init__(
        self, config: WorkerConfig, scheduler: zmq.Socket[bytes], commands: Commands
    ) -> None:
        self.scheduler = scheduler
        self.commands = commands
        self.loader = Loader(config.engine)
        spare = config.engine.spare_slots
        slots = (config.engine.slots or FIRST) + spare
        identity = Identity(
            config.name, config.provider, os.getpid(), slots, config.fatal, spare, config.only
        )
        self.residency = Residency(config.model_ttl, config.pinned)
        memory = ModelMemory(
            maps=config.engine.shares,
            limit=config.memory_bytes,
            copies=config.engine.copied_bytes,
        )
        self.worker = Worker(identity, self.residency, self._load, memory)
        self.preload, self.fatal = config.preload, config.fatal
        self.home = config.home
        self.next_upkeep = 0.0
        self.next_heartbeat = 0.0
        self.next_note = 0.0
        self.folders = FolderWatch()
        self.poller = zmq.Poller()
        for source in (scheduler, commands.fileno(), self.loader.wake.fileno()):
            self.poller.register(source, zmq.POLLIN)

    def run(self) -> None:
        if not self._preload():
            return
        self.commands.started(self._not_loaded())
        self._send([self.worker.report.ready(time.monotonic())])
        stopped = False
        while not stopped:
            self._send(self.worker.step(time.monotonic()))
            busy = self.worker.busy
            if not busy or time.monotonic() >= self.next_upkeep:
                self._do_upkeep()
                busy = self.worker.busy or self.worker.warm_up()
            ready = dict(self.poller.poll(0 if busy else self._timeout_ms(time.monotonic())))
            if self.scheduler in ready:
                self._receive_all()
            if self.loader.wake.fileno() in ready:
                self._take_loaded()
            if self.commands.fileno() in ready:
                stopped = "stop" in self.commands.read()
        self._send(self.worker.goodbye())
        self.worker.close()
        self.scheduler.linger = 1000  # the goodbye should arrive

    def _do_upkeep(self) -> None:
        """What is not a step. Steps that take less time than UPKEEP_SECONDS share it."""
        self._beat()
        self._send(self.worker.report.postponed())
        self._send(self.worker.report.resized(time.monotonic()))
        self._give_back()
        self._send_heartbeat(time.monotonic())
        self.next_upkeep = time.monotonic() + UPKEEP_SECONDS

    def _preload(self) -> bool:
        """Load the first model before Ready is sent, so that a ready worker answers at once.

        False: the supervisor wants this process to stop.
        """
        for model in self.preload:
            self.worker.lifecycle.preload(model, time.monotonic())
        events = zmq.Poller()
        events.register(self.commands.fileno(), zmq.POLLIN)
        events.register(self.loader.wake.fileno(), zmq.POLLIN)
        begun = self.loader.pending
        while self.loader.pending == begun > 0:
            events.poll()
            if "stop" in self.commands.read():
                return False
            for model_id, result in self.loader.take():
                self.worker.loaded(model_id, result, time.monotonic())
        return True

    def _not_loaded(self) -> list[str]:
        """The ids of the models of the start whose loads have failed so far."""
        known = {*self.residency.loaded, *self.residency.loading}
        return [*self.fatal, *(model.id for model in self.preload if model.id not in known)]

    def _load(self, model: LocalModel) -> None:
        # Said before the load begins: onnxruntime-genai blocks every thread of the process.
        self.commands.beat(LONG_TURN)
        self.folders.loads(model)
        self._note_use(model)
        self.loader.load(model)

    def _note_use(self, model: LocalModel) -> None:
        if self.home is not None:
            uses.note_use(self.home, Path(model.path))

    def _beat(self) -> None:
        """Say that the loop turns, and whether its next turn may be long."""
        served = self.residency.serving(time.monotonic()).values()
        # onnxruntime-genai may read a long prompt in one piece.
        long = self.loader.pending or any(s.engine == "onnxruntime-genai" for s in served)
        self.commands.beat(LONG_TURN if long else ALIVE)

    def _take_loaded(self) -> None:
        for model_id, result in self.loader.take():
            self._send(self.worker.loaded(model_id, result, time.monotonic()))

    def _give_back(self) -> None:
        """Give memory back that is not needed any more."""
        now = time.monotonic()
        messages = self.worker.expire(now)
        if self.worker.lifecycle.rest(now) or messages:
            for model in self.residency.idle:
                drop_pages(Path(model.path))
            release_memory()  # before the scheduler learns that the model is unloaded
            logger.info("gave memory back; %d MB are left", memory_bytes() >> 20)
        self._send(messages)

    def _receive_all(self) -> None:
        """Take in what has come: one frame at least."""
        while True:
            try:
                message = decode_to_worker(self.scheduler.recv(_NOBLOCK))
            except ValueError as error:
                logger.warning("dropped a frame: %s", error)
            else:
                self._send(self.worker.receive(message, time.monotonic()))
            # A receive that finds no frame raises, which takes longer than to ask.
            if not int(self.scheduler.get(zmq.EVENTS)) & _POLLIN:
                return

    def _send(self, messages: Iterable[FromWorker]) -> None:
        for message in messages:
            try:
                self.scheduler.send(encode(message), _NOBLOCK)
            except zmq.Again:
                # 100,000 frames wait for a scheduler that is gone. The next one will send Rejoin.
                logger.warning("the scheduler takes no messages; dropped one")

    def _send_heartbeat(self, now: float) -> None:
        if now >= self.next_heartbeat:
            self.next_heartbeat = now + HEARTBEAT_SECONDS
            self.worker.lifecycle.outdate(self.folders.changed())
            if now >= self.next_note:
                self.next_note = now + NOTE_SECONDS
                for resident in self.residency.models.values():
                    self._note_use(resident.model)
            self._send([self.worker.report.heartbeat(now, memory_bytes())])

    def _timeout_ms(self, now: float) -> int:
        """How long the loop may wait when it has nothing to do."""
        deadlines = [self.next_heartbeat]
        if (deadline := self.worker.next_deadline()) is not None:
            deadlines.append(deadline)
        return math.ceil(max(0.0, min(deadlines) - now) * 1000)
