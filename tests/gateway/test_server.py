"""The end of a gateway's life, and of the scheduler's."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from cupola.gateway.http.served import Finished
from cupola.scheduler.protocol.endpoint import remove
from cupola.scheduler.protocol.lifeline import ORPHANED
from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    Outcome,
    Outputs,
    Rejected,
    Status,
    Submit,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.service import children
from cupola.service.output.logs import LogOptions
from tests.gateway.running_gateway import (
    HELLO,
    WAIT,
    RunningGateway,
    config_for,
    error_of,
    read_all,
    read_until,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import SECOND, WORKER, ScriptedScheduler, last, words

pytestmark = pytest.mark.slow

STREAM = HELLO | {"stream": True}

# -- stop ------------------------------------------------------------------------------------------


def test_a_start_leaves_the_listener_of_other_gateways_without_blocking(
    scheduler: ScriptedScheduler, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else their loops would stand still in accept(2) until somebody connects."""
    blocking: list[bool] = []
    plain = socket.socket.dup

    def dup(listener: socket.socket) -> socket.socket:
        copy = plain(listener)
        blocking.append(os.get_blocking(listener.fileno()))
        return copy

    monkeypatch.setattr(socket.socket, "dup", dup)
    with RunningGateway(scheduler.endpoint, home):
        pass
    assert blocking == [False]


def refuses(gateway: RunningGateway) -> bool:
    try:
        answer = gateway.send(request("GET", "/health"))
        return answer != b"" and status_of(answer) == 503
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was just being closed
        pass
    return False


def until_refused(gateway: RunningGateway) -> None:
    deadline = time.monotonic() + WAIT
    while not refuses(gateway):
        assert time.monotonic() < deadline


def test_idle_gateway_stops_at_once(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        http.get("/health")  # its connection is kept, and must not hold the gateway
        gateway.stop()
        gateway.join()
    assert refuses(gateway)


@pytest.mark.parametrize("stream", [False, True])
def test_running_answers_finish(
    gateway: RunningGateway, scheduler: ScriptedScheduler, stream: bool
) -> None:
    scheduler.script = None
    with gateway.post(HELLO | {"stream": stream}) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Outputs((Output(request_id, "Before"),)))
        gateway.stop()
        until_refused(gateway)
        scheduler.send(last(request_id, " and after"))
        answer = read_all(connection)
    gateway.join()
    assert b"after" in answer and (not stream or b"[DONE]" in answer)


def test_stream_that_outlives_the_grace_time_ends_with_an_error(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    scheduler.script = None
    with RunningGateway(scheduler.endpoint, home, grace_seconds=0.0) as gateway:
        with gateway.post(STREAM) as connection:
            request_id = scheduler.next(Submit).request_id
            scheduler.send(Outputs((Output(request_id, "Half"),)))
            received = read_until(connection, b'"Half"')
            gateway.stop()
            received += read_all(connection)
        gateway.join()
    assert b'"code":"shutting_down"' in received and b"[DONE]" not in received
    assert received.endswith(b"0\r\n\r\n")
    assert scheduler.next(Abort) == Abort(request_id, counts_as=Outcome.FAILED)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/chat/completions", lambda body: body["error"]["code"]),
        ("/v1/messages", lambda body: body["error"]["type"]),
        ("/api/chat", lambda body: body["error"]),
    ],
)
def test_who_comes_while_the_gateway_stops_gets_503(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    path: str,
    told: Callable[[dict[str, Any]], str],
) -> None:
    scheduler.script = None
    with gateway.post(STREAM):
        scheduler.next(Submit)
        gateway.stop()
        until_refused(gateway)
        answer = gateway.send(request("POST", path, b"{}" * 50_000))
        gateway.end_at_once()
        gateway.join()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nretry-after: 1\r\n" in head
    assert f"content-length: {len(body)}".encode() in head
    assert told(json.loads(body))
    with pytest.raises(ConnectionRefusedError):
        gateway.connect()


def test_a_stream_ends_with_an_error_when_nobody_wants_to_wait(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = None
    with gateway.post(STREAM) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Outputs((Output(request_id, "Half"),)))
        received = read_until(connection, b'"Half"')
        gateway.stop()
        gateway.end_at_once()
        received += read_all(connection)
    gateway.join()
    assert b'"code":"shutting_down"' in received
    assert received.endswith(b"0\r\n\r\n")


def test_whole_answer_that_outlives_the_grace_time(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    scheduler.script = None
    with RunningGateway(scheduler.endpoint, home, grace_seconds=0.0) as gateway:
        with gateway.post(HELLO) as connection:
            scheduler.next(Submit)
            gateway.stop()
            answer = read_all(connection)
        gateway.join()
    assert (status_of(answer), error_of(answer)["code"]) == (503, "shutting_down")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_request_whose_body_is_still_coming_at_the_end_of_the_grace_time(
    scheduler: ScriptedScheduler, home: Path, path: str
) -> None:
    scheduler.script = None
    told: list[Finished] = []
    body = json.dumps(HELLO | {"max_tokens": 5, "stream": False}).encode()
    sent = request("POST", path, body)
    with RunningGateway(scheduler.endpoint, home, grace_seconds=0.0, told=[told.append]) as gateway:
        with gateway.connect() as connection:
            connection.sendall(sent[:-10])
            gateway.send(request("GET", "/health"))  # the other one has been read as well
            gateway.stop()
            answer = read_all(connection)
        gateway.join()
    assert status_of(answer) == 503 and b"shutting down" in answer
    assert b"retry-after: " in answer.lower()
    assert [each.status for each in told if each.path == path] == [503]


# -- as a process ----------------------------------------------------------------------------------


@dataclass
class GatewayProcess:
    process: BaseProcess
    lifeline: socket.socket
    port: int

    def heard(self) -> bytes:
        """The next line that is not a beat."""
        while True:
            line = b""
            while not line.endswith(b"\n"):
                line += self.lifeline.recv(1)
            if line != b"alive\n":
                return line

    def exit_code(self) -> int | None:
        self.process.join(WAIT)
        return self.process.exitcode

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def ask(self, raw: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(raw)
            return read_all(connection)


@contextmanager
def gateway_process(
    scheduler: ScriptedScheduler, home: Path, **changes: Any
) -> Iterator[GatewayProcess]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = config_for(scheduler.endpoint, home, listener, **changes)
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    process = multiprocessing.get_context("spawn").Process(
        target=children.gateway, args=(theirs, LogOptions("warning"), config, (listener,))
    )
    process.start()
    with theirs, listener:
        pass
    with ours:
        try:
            yield GatewayProcess(process, ours, config.port)
        finally:
            process.kill()
            process.join()
            process.close()


def test_process(scheduler: ScriptedScheduler, home: Path) -> None:
    with gateway_process(scheduler, home) as gateway:
        assert gateway.heard() == b"ready\n"
        assert gateway.process.pid is not None
        os.kill(gateway.process.pid, signal.SIGINT)  # Ctrl+C is the supervisor's to handle
        assert status_of(gateway.ask(request("POST", "/shutdown"))) == 200
        assert gateway.heard() == b"shutdown\n"
        gateway.lifeline.sendall(b"stop\n")
        assert gateway.exit_code() == 0


def test_process_ends_with_its_supervisor(scheduler: ScriptedScheduler, home: Path) -> None:
    with gateway_process(scheduler, home) as gateway:
        assert gateway.heard() == b"ready\n"
        gateway.lifeline.close()
        assert gateway.exit_code() == ORPHANED


def test_a_stream_ends_with_an_error_when_the_supervisor_is_gone(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    scheduler.script = None
    with gateway_process(scheduler, home) as gateway:
        assert gateway.heard() == b"ready\n"
        with gateway.connect() as connection:
            connection.sendall(request("POST", "/v1/chat/completions", json.dumps(STREAM).encode()))
            request_id = scheduler.next(Submit).request_id
            scheduler.send(Outputs((Output(request_id, "Half"),)))
            received = read_until(connection, b'"Half"')
            gateway.lifeline.close()
            received += read_all(connection)
        assert gateway.exit_code() == ORPHANED
    assert b'"code":"shutting_down"' in received
    assert received.endswith(b"0\r\n\r\n")


def test_ready_is_told_when_a_worker_comes(scheduler: ScriptedScheduler, home: Path) -> None:
    scheduler.status = Status("first", missing=("cpu:0/0",))
    with gateway_process(scheduler, home) as gateway:
        assert status_of(gateway.ask(request("GET", "/ready"))) == 503
        scheduler.status = Status("first", workers=(WORKER,))
        assert gateway.heard() == b"ready\n"


def test_client_that_does_not_read_holds_nobody(scheduler: ScriptedScheduler, home: Path) -> None:
    scheduler.script = None
    with (
        gateway_process(scheduler, home, grace_seconds=0.0) as gateway,
        gateway.connect() as connection,
    ):
        body = json.dumps(STREAM).encode()
        connection.sendall(request("POST", "/v1/chat/completions", body))
        request_id = scheduler.next(Submit).request_id
        much = Outputs((Output(request_id, "x" * 1_000_000),))
        scheduler.send(*[much] * 20)
        read_until(connection, b"xxx")
        assert gateway.heard() == b"ready\n"
        gateway.lifeline.sendall(b"stop\n")
        assert gateway.exit_code() == 0


# -- a new life of the scheduler -------------------------------------------------------------------


@contextmanager
def restarted(scheduler: ScriptedScheduler) -> Iterator[ScriptedScheduler]:
    """The scheduler dies, and another takes its place."""
    scheduler.close()
    with ScriptedScheduler(scheduler.endpoint, status=SECOND) as second:
        yield second


@pytest.fixture
def mortal() -> Iterator[ScriptedScheduler]:
    """A scheduler that the test closes itself."""
    scheduler = ScriptedScheduler()
    scheduler.script = None
    yield scheduler
    remove(scheduler.endpoint)


@pytest.mark.parametrize("stream", [False, True])
def test_request_that_had_not_begun_runs_in_the_next_life(
    mortal: ScriptedScheduler, home: Path, stream: bool
) -> None:
    with RunningGateway(mortal.endpoint, home) as gateway:
        gateway.until(lambda: gateway.client.status is not None)
        with gateway.post(HELLO | {"stream": stream}) as connection:
            first = mortal.next(Submit)
            with restarted(mortal) as second:
                assert second.next(Abort) == Abort(first.request_id, counts_as=None)
                again = second.next(Submit)
                answer = read_all(connection)
    assert again.work == first.work and again.request_id != first.request_id
    assert status_of(answer) == 200 and b"three." in answer


def test_stream_that_had_begun_ends_with_an_error(mortal: ScriptedScheduler, home: Path) -> None:
    with RunningGateway(mortal.endpoint, home) as gateway:
        gateway.until(lambda: gateway.client.status is not None)
        with gateway.post(STREAM) as connection:
            request_id = mortal.next(Submit).request_id
            mortal.send(Outputs((Output(request_id, "Half"),)))
            received = read_until(connection, b'"Half"')
            with restarted(mortal):
                received += read_all(connection)
                assert status_of(gateway.ask(HELLO)) == 200
    assert b'"code":"scheduler_lost"' in received and b"[DONE]" not in received


def test_request_made_while_the_scheduler_is_away_runs_once(
    mortal: ScriptedScheduler, home: Path
) -> None:
    with RunningGateway(mortal.endpoint, home) as gateway:
        gateway.until(lambda: gateway.client.status is not None)
        mortal.close()
        with (
            gateway.post(HELLO) as connection,
            ScriptedScheduler(mortal.endpoint, script=None, status=None) as second,
        ):
            first = second.next(Submit)  # the gateway does not know yet that it is another one
            second.status = SECOND
            assert second.next(Abort) == Abort(first.request_id, counts_as=None)
            again = second.next(Submit)
            second.send(*words(again))
            answer = read_all(connection)
    assert status_of(answer) == 200 and b"three." in answer
    assert again.work == first.work and again.request_id != first.request_id


def test_load_and_unload(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    """Nothing in HTTP asks for these yet."""

    async def scenario(script: Any) -> None:
        scheduler.script = script
        await gateway.client.unload("m:1")

    def rejecting(asked: Any) -> Any:
        yield Rejected(asked.request_id, ErrorCode.NO_WORKER, "no")

    gateway.run(scenario(scheduler.script))
    with pytest.raises(Exception, match="no_worker"):
        gateway.run(scenario(rejecting))
