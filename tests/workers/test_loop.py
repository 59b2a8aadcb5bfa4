"""The worker's loop with a real socket and a load that does not end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.commands import STARTED, Commands
from cupola.scheduler.protocol.messages import LocalModel, Ready, decode_to_scheduler
from cupola.workers import main
from cupola.workers.echo import EchoBackend
from cupola.workers.loading import EngineOptions
from cupola.workers.main import Loop, WorkerConfig

MODELS = tuple(LocalModel(name, f"/{name}", ExecutionProvider.CPU) for name in ("a:1", "b:1"))


class Worker:
    """A loop that runs on a thread. Its loads wait for ``may_load``."""

    def __init__(self, preload: tuple[LocalModel, ...], fatal: tuple[str, ...] = ()) -> None:
        self.may_load, self.loads = threading.Event(), threading.Event()
        self.told: list[str] = []
        self.commands = Commands(self.told.append)
        self.context = zmq.Context()
        self.scheduler = self.context.socket(zmq.DEALER)
        self.peer = self.context.socket(zmq.DEALER)
        port = self.scheduler.bind_to_random_port("tcp://127.0.0.1")
        self.peer.connect(f"tcp://127.0.0.1:{port}")
        config = WorkerConfig(
            "cpu:0/0", ExecutionProvider.CPU, EngineOptions(), 600, preload, fatal=fatal
        )
        self.loop = Loop(config, self.peer, self.commands)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def load(self, *_: object) -> EchoBackend:
        self.loads.set()
        self.may_load.wait(60)
        return EchoBackend()

    def ready(self) -> Ready:
        """Its first message."""
        assert self.scheduler.poll(60_000)
        message = decode_to_scheduler(self.scheduler.recv())
        assert isinstance(message, Ready)
        return message

    def stop(self) -> None:
        self.commands.put("stop")
        self.thread.join(60)
        assert not self.thread.is_alive()

    def close(self) -> None:
        self.may_load.set()
        self.stop()
        self.commands.close()
        self.scheduler.close(0)
        self.peer.close(0)
        self.context.term()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    monkeypatch.setattr(main, "load", lambda *arguments: started[0].load(*arguments))
    yield started
    for worker in started:
        worker.close()


def test_a_stop_does_not_wait_for_the_load_at_the_start(workers: list[Worker]) -> None:
    worker = Worker(MODELS)
    workers.append(worker)
    assert worker.loads.wait(60)
    worker.stop()
    assert STARTED not in worker.told


def test_it_is_ready_once_its_first_model_is_loaded(workers: list[Worker]) -> None:
    worker = Worker(MODELS[:1])
    workers.append(worker)
    assert worker.loads.wait(60)
    assert not worker.scheduler.poll(0)
    worker.may_load.set()
    assert worker.ready().resident == ("a:1",)
    assert STARTED in worker.told


def test_it_says_which_loads_have_ended_the_processes_before_it(workers: list[Worker]) -> None:
    worker = Worker((), fatal=("a:1",))
    workers.append(worker)
    assert worker.ready().fatal == ("a:1",)
