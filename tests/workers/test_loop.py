"""The worker's loop with a real socket. Its loads wait, but for that of the last test."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.commands import LONG_TURN, STARTED, Commands
from cupola.scheduler.protocol.messages import (
    Done,
    Heartbeat,
    Outputs,
    Ready,
    Submit,
    UnloadModel,
    decode_to_scheduler,
    encode,
    encode_work,
)
from cupola.scheduler.protocol.tasks import LocalModel, SamplingParams, Text, Work
from cupola.workers import loader, main, residency
from cupola.workers.echo import EchoBackend
from cupola.workers.engine_options import EngineOptions
from cupola.workers.main import Loop, WorkerConfig
from tests.workers.reference import DATA
from tests.workers.tiny import NAME

MODELS = tuple(LocalModel(name, f"/{name}", ExecutionProvider.CPU) for name in ("a:1", "b:1"))


class Worker:
    """A loop that runs on a thread. Its loads wait for ``may_load``."""

    def __init__(self, preload: tuple[LocalModel, ...], fatal: tuple[str, ...] = ()) -> None:
        self.may_load, self.loads = threading.Event(), threading.Event()
        self.problem: Exception | None = None  # of every load
        self.told: list[str] = []
        self.commands = Commands(self.told.append)
        self.context = zmq.Context()
        self.scheduler = self.context.socket(zmq.DEALER)
        self.peer = self.context.socket(zmq.DEALER)
        port = self.scheduler.bind_to_random_port("tcp://127.0.0.1")
        self.peer.connect(f"tcp://127.0.0.1:{port}")
        engine = EngineOptions(slots=2, warm_up=False)
        config = WorkerConfig("cpu:0/0", ExecutionProvider.CPU, engine, 600, preload, fatal=fatal)
        self.loop = Loop(config, self.peer, self.commands)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)

    def load(self, *_: object) -> EchoBackend:
        self.loads.set()
        self.may_load.wait(60)
        if self.problem is not None:
            raise self.problem
        return EchoBackend()

    def ready(self) -> Ready:
        """Its first message."""
        assert self.scheduler.poll(60_000)
        message = decode_to_scheduler(self.scheduler.recv())
        assert isinstance(message, Ready)
        return message

    def generate(self, request_id: str, model: LocalModel) -> str:
        """The text of an answer."""
        sampling = SamplingParams(max_tokens=8, temperature=0, ignore_eos=True)
        work = encode_work(Work(Text("Hello"), sampling))
        self.scheduler.send(encode(Submit(request_id, model, work)))
        text = ""
        while self.scheduler.poll(60_000):
            message = decode_to_scheduler(self.scheduler.recv())
            for output in message.outputs if isinstance(message, Outputs) else ():
                text += output.text
                if output.last:
                    return text
        raise TimeoutError(request_id)

    def turn(self) -> None:
        """Wait until the loop has made a whole turn."""
        for number in range(2):  # it may be within one when the first message comes
            self.scheduler.send(encode(UnloadModel(f"turn {number}", "no model")))
            message = None
            while message != Done(f"turn {number}"):
                assert self.scheduler.poll(60_000)
                message = decode_to_scheduler(self.scheduler.recv())

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


Begin = Callable[..., Worker]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Starts the worker of a test."""
    with ExitStack() as stack:

        def start(
            preload: tuple[LocalModel, ...], fatal: tuple[str, ...] = (), loads: bool = False
        ) -> Worker:
            worker = Worker(preload, fatal)
            if not loads:
                monkeypatch.setattr(loader, "load", worker.load)
            worker.thread.start()
            stack.callback(worker.close)
            return worker

        yield start


def test_a_stop_does_not_wait_for_the_load_at_the_start(begin: Begin) -> None:
    worker = begin(MODELS)
    assert worker.loads.wait(60)
    worker.stop()
    assert STARTED not in worker.told


def test_it_is_ready_once_its_first_model_is_loaded(begin: Begin) -> None:
    worker = begin(MODELS[:1])
    assert worker.loads.wait(60)
    assert not worker.scheduler.poll(0)
    worker.may_load.set()
    assert worker.ready().resident == ("a:1",)
    assert STARTED in worker.told


def test_it_says_which_loads_have_ended_the_processes_before_it(begin: Begin) -> None:
    worker = begin((), fatal=("a:1",))
    assert worker.ready().fatal == ("a:1",)
    assert worker.told.index("not loaded a:1") < worker.told.index(STARTED)


def test_it_tells_the_supervisor_first_that_the_load_at_the_start_failed(begin: Begin) -> None:
    worker = begin(MODELS[:1])
    worker.problem = OSError("the file is cut off")
    worker.may_load.set()
    worker.ready()
    assert [line for line in worker.told if line != LONG_TURN][:2] == ["not loaded a:1", STARTED]


def test_a_model_that_is_removed_from_the_disk_leaves_the_memory(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "HEARTBEAT_SECONDS", 0.01)
    (tmp_path / "a").mkdir()
    worker = begin((LocalModel("a:1", str(tmp_path / "a"), ExecutionProvider.CPU),))
    worker.may_load.set()
    assert worker.ready().resident == ("a:1",)
    (tmp_path / "a").rmdir()
    assert worker.scheduler.poll(60_000)
    while True:
        message = decode_to_scheduler(worker.scheduler.recv())
        if isinstance(message, Heartbeat) and not message.resident:
            break


def test_a_model_is_unloaded_while_another_makes_step_after_step(begin: Begin) -> None:
    worker = begin(MODELS)
    worker.may_load.set()
    resident = worker.ready().resident  # one or both: it is ready with the first
    while resident != ("a:1", "b:1"):
        assert worker.scheduler.poll(60_000)
        message = decode_to_scheduler(worker.scheduler.recv())
        resident = message.resident if isinstance(message, Heartbeat) else resident
    endless = encode_work(Work(Text("Hello"), SamplingParams(max_tokens=100_000)))
    worker.scheduler.send(encode(Submit("r", MODELS[0], endless)))
    worker.scheduler.send(encode(UnloadModel("u", MODELS[1].id)))
    outputs = 0
    while worker.scheduler.poll(60_000):
        match decode_to_scheduler(worker.scheduler.recv()):
            case Outputs():
                outputs += 1
            case Done(request_id):
                assert request_id == "u"
                break
    assert outputs
    assert worker.loop.worker.busy


def resident_bytes(folder: Path) -> int:
    """What is in memory of the files of ``folder`` that this process has mapped."""
    size, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = f" {folder}/" in line
        elif inside and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of mappings")
def test_pages_of_a_models_files_leave_the_memory_when_it_rests(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(DATA / NAME, tmp_path / "tiny-1")
    model = LocalModel("tiny:1", str(folder), ExecutionProvider.CPU)
    worker = begin((model,), loads=True)
    assert worker.ready().resident == (model.id,)
    text = worker.generate("first", model)
    assert resident_bytes(folder) > 0
    worker.turn()
    assert resident_bytes(folder) > 0  # it rests after a minute
    monkeypatch.setattr(residency, "RESTS", (0.0, 0.0))
    deadline = time.monotonic() + 60
    while resident_bytes(folder) and time.monotonic() < deadline:
        worker.turn()  # not every turn looks for what may rest
    assert resident_bytes(folder) == 0
    assert worker.generate("again", model) == text
