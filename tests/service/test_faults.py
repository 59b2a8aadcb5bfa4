"""Real kills, and what clients see of them: every request ends once, and the service comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

from tests.service.running_service import MODEL, PATIENCE, Service, eventually

STORY = [{"role": "user", "content": "Tell a long story about a lighthouse."}]
Start = Callable[..., Service]


def story(tokens: int) -> dict[str, Any]:
    """A request whose answer has exactly so many tokens."""
    return {
        "model": MODEL,
        "messages": STORY,
        "max_tokens": tokens,
        "extra_body": {"ignore_eos": True},
    }


class Stream:
    """A streamed answer that is being read, and how it ended."""

    def __init__(self, client: openai.AsyncOpenAI, tokens: int) -> None:
        self.begun = asyncio.Event()
        self.text = ""
        self.finish_reason: str | None = None
        self.error: openai.APIError | None = None
        self.task = asyncio.create_task(self._read(client, tokens))

    async def _read(self, client: openai.AsyncOpenAI, tokens: int) -> None:
        try:
            stream = await client.chat.completions.create(**story(tokens), stream=True)
            async for chunk in stream:
                self.text += chunk.choices[0].delta.content or ""
                self.finish_reason = chunk.choices[0].finish_reason or self.finish_reason
                if self.text:
                    self.begun.set()
        except openai.APIError as error:
            self.error = error
        finally:
            self.begun.set()


def stream_while(service: Service, tokens: int, happens: Callable[[], object]) -> Stream:
    """A streamed answer, to its end; ``happens`` is called once it has begun."""

    async def scenario() -> Stream:
        async with service.async_openai() as client:
            stream = Stream(client, tokens)
            await stream.begun.wait()
            happens()
            await stream.task
            return stream

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def recovering(
    place_model: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service for tests that kill a child and wait until it is back."""
    home = tmp_path_factory.mktemp("home")
    place_model(home)
    with Service(home, slots=4) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def narrow(
    place_model: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with one slot, and room for one request that waits.

    Who uses it reads the log to the line that tells of an abort, if it causes one.
    """
    home = tmp_path_factory.mktemp("home")
    place_model(home)
    with Service(home, slots=1, queue_limit=1) as running:
        yield running.ready()


def test_a_killed_worker_ends_what_had_begun_and_the_rest_is_answered(recovering: Service) -> None:
    service = recovering

    async def scenario() -> list[Stream]:
        async with service.async_openai() as client:
            begun = [Stream(client, 4000) for _ in range(4)]
            await asyncio.gather(*(stream.begun.wait() for stream in begun))
            waiting = [Stream(client, 12) for _ in range(4)]
            # The scheduler has them when it says that they wait.
            await asyncio.to_thread(eventually, lambda: queued(service) == 4)
            service.child("worker cpu:0/0").kill()
            await asyncio.gather(*(stream.task for stream in begun + waiting))
            return [*begun, *waiting]

    streams = asyncio.run(scenario())
    for stream in streams[:4]:
        assert isinstance(stream.error, openai.APIError)
        assert "send it again" in stream.error.message
        assert stream.finish_reason is None
    for stream in streams[4:]:
        assert stream.error is None
        assert stream.finish_reason == "length"
    assert service.is_ready()


def queued(service: Service) -> int:
    return int(httpx2.get(f"{service.url}/ready", timeout=PATIENCE).json()["queued"])


def test_ready_tells_the_truth_while_a_worker_is_away(start: Start) -> None:
    service = start(backend="echo").ready()
    worker = service.child("worker cpu:0/0")
    worker.kill()
    service.wait_for(r"worker cpu:0/0 is lost")
    answer = httpx2.get(f"{service.url}/ready", timeout=PATIENCE)
    if answer.status_code == 503:  # it may be back already
        assert answer.json()["missing"] == ["worker cpu:0/0"]
    eventually(service.is_ready)
    assert service.child("worker cpu:0/0").pid != worker.pid


def test_a_killed_scheduler_comes_back_and_requests_end_once(recovering: Service) -> None:
    service = recovering
    stream = stream_while(service, 4000, lambda: service.child("scheduler").kill())
    assert isinstance(stream.error, openai.APIError)
    assert stream.finish_reason is None
    eventually(service.is_ready)
    answer = service.openai().chat.completions.create(**story(5))
    assert answer.usage and answer.usage.completion_tokens == 5


def test_a_killed_gateway_comes_back_on_the_same_port(start: Start) -> None:
    service = start().ready()

    stream = stream_while(service, 4000, lambda: service.child("gateway").kill())
    assert isinstance(stream.error, openai.APIError)
    # The port stays open meanwhile: this connection waits for the new gateway.
    answer = service.openai().chat.completions.create(**story(5))
    assert answer.usage and answer.usage.completion_tokens == 5
    service.wait_for("aborting")


def test_nothing_is_left_of_a_killed_supervisor(start: Start) -> None:
    service = start().ready()
    family = service.family()
    assert len(family) >= 4
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait(PATIENCE)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


@pytest.mark.parametrize("answers", [0, 1])
def test_a_stop_soon_after_a_load_is_quiet(start: Start, answers: int) -> None:
    """Sessions are still being built in the background then."""
    for _ in range(2):
        service = start(lean=False, warm_up="no").ready()
        for _ in range(answers):
            service.openai().chat.completions.create(**story(2))
        service.process.terminate()
        log = service.rest_of_log()
        assert service.process.wait(PATIENCE) == 0
        for trouble in ("terminate called", "Traceback", "unexpectedly", "did not stop in time"):
            assert trouble not in log


def test_streams_finish_within_the_grace_time_of_a_sigterm(start: Start) -> None:
    service = start(grace_seconds=60).ready()
    family = service.family()

    stream = stream_while(service, 60, lambda: service.process.terminate())
    assert stream.error is None
    assert stream.finish_reason == "length"
    assert service.process.wait(PATIENCE) == 0
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_streams_that_outlast_the_grace_time_get_an_error(start: Start) -> None:
    service = start(grace_seconds=0).ready()

    stream = stream_while(service, 6000, lambda: service.process.send_signal(signal.SIGINT))
    assert isinstance(stream.error, openai.APIError)
    assert service.process.wait(PATIENCE) == 0


def test_streams_get_an_error_at_a_second_sigint(start: Start) -> None:
    service = start(grace_seconds=60).ready()

    def stop_twice() -> None:
        service.process.send_signal(signal.SIGINT)
        service.wait_for("stopping")
        service.process.send_signal(signal.SIGINT)

    stream = stream_while(service, 6000, stop_twice)
    assert isinstance(stream.error, openai.APIError)
    assert service.process.wait(PATIENCE) == 0


def test_streams_get_an_error_when_the_supervisor_is_killed(start: Start) -> None:
    service = start(grace_seconds=60).ready()

    stream = stream_while(service, 6000, service.process.kill)
    assert isinstance(stream.error, openai.APIError)
    assert not isinstance(stream.error, openai.APIConnectionError)


def test_a_port_in_use_is_named_with_its_owner(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = start(port=port)
        assert service.process.wait(PATIENCE) == 1
        log = service.rest_of_log()
    assert f"port {port} is in use" in log
    assert f"pid {os.getpid()}" in log
    assert "--port" in log


def test_a_corrupt_model_is_named_and_the_service_stays_up(
    start: Start, place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = place_model(tmp_path)
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(1000)
    service = start().ready()
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as error:
            service.openai().chat.completions.create(**story(5))
        assert MODEL in error.value.message
        assert "model.onnx" in error.value.message
        assert error.value.code == "model_load_failed"
    assert service.is_ready()


def test_weights_that_are_cut_off_are_named(
    start: Start, place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = place_model(tmp_path)
    with (folder / "model.onnx.data").open("r+b") as file:
        file.truncate(1_000_000)
    service = start().ready()
    with pytest.raises(openai.InternalServerError) as error:
        service.openai().chat.completions.create(**story(5))
    assert "model.onnx.data" in error.value.message


def test_a_full_queue_is_503_and_says_when_to_come_back(narrow: Service) -> None:
    service = narrow

    async def scenario() -> tuple[openai.APIStatusError, list[Stream]]:
        async with service.async_openai() as client:
            running = Stream(client, 4000)
            await running.begun.wait()
            waiting = Stream(client, 5)
            await asyncio.to_thread(eventually, lambda: queued(service) == 1)
            with pytest.raises(openai.InternalServerError) as refused:
                await client.chat.completions.create(**story(5))
            running.task.cancel()
            await asyncio.wait([running.task])
            await waiting.task
            return refused.value, [waiting]

    refused, (waiting,) = asyncio.run(scenario())
    service.wait_for("aborting")
    assert refused.status_code == 503
    assert refused.code == "server_overloaded"
    assert refused.response.headers["retry-after"]
    assert waiting.finish_reason == "length"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot_in_the_worker(
    narrow: Service, stream: bool
) -> None:
    service = narrow
    body = story(6000) | {"stream": stream}
    body |= body.pop("extra_body")
    host, port = httpx2.URL(service.url).host, httpx2.URL(service.url).port
    assert port is not None
    with socket.create_connection((host, port)) as client:
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data)
        if stream:
            assert client.recv(4096)
        eventually(lambda: running(service) == 1)
    service.wait_for("aborting")
    answer = service.openai().chat.completions.create(**story(3))
    assert answer.usage and answer.usage.completion_tokens == 3


def running(service: Service) -> int:
    return int(httpx2.get(f"{service.url}/ready", timeout=PATIENCE).json()["running"])


def test_an_idle_model_is_unloaded_and_loaded_again_on_use(start: Start) -> None:
    service = start(model_ttl=0.2).ready()
    service.wait_for("unloaded smollm2")
    answer = service.openai().chat.completions.create(**story(3))
    assert answer.usage and answer.usage.completion_tokens == 3


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    environment = os.environ | {"CUPOLA_HOME": str(tmp_path), "CUPOLA_PORT": "99999"}
    ended = subprocess.run(
        [sys.executable, "-m", "cupola.service"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "CUPOLA_PORT" in ended.stderr
    assert "65535" in ended.stderr
