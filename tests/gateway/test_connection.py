"""Connections end in time, whatever their clients do."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cupola.gateway.connection import ConnectionLimits
from cupola.scheduler.protocol.messages import Abort, Submit
from tests.gateway.running_gateway import (
    HELLO,
    WAIT,
    RunningGateway,
    read_all,
    read_until,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

KEPT = request("GET", "/health").replace(b"Connection: close\r\n", b"")
LARGE = request("GET", "/openapi.json").replace(b"Connection: close\r\n", b"")
UNFINISHED = {
    "a part of the head": KEPT[:20],
    "a part of the body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1000\r\n\r\n{",
    "a chunk of a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
}


def with_limits(
    scheduler: ScriptedScheduler, home: Path, limits: ConnectionLimits
) -> RunningGateway:
    return RunningGateway(scheduler.endpoint, home, limits=limits)


@pytest.mark.parametrize("closing", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["half", "all"])
def test_a_connection_ends_with_its_client(gateway: RunningGateway, closing: int) -> None:
    # hypercorn's own would stay for the keep-alive timeout.
    connections = [gateway.connect() for _ in range(8)]
    for connection in connections:
        connection.sendall(KEPT)
        read_until(connection, b"}")
        connection.shutdown(closing)
    gateway.until(lambda: gateway.limits.open == 0)  # also of the one that asks
    for connection in connections:
        connection.close()


def test_who_sends_no_more_gets_what_takes_no_model(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    for each in (KEPT, request("GET", "/v1/models"), LARGE):
        with gateway.connect() as connection:
            connection.sendall(each)
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_all(connection)) == 200
    scheduler.script = None
    for stream in (False, True):
        with gateway.post({**HELLO, "stream": stream}) as connection:
            submit = scheduler.next(Submit)
            connection.shutdown(socket.SHUT_WR)
            assert scheduler.next(Abort).request_id == submit.request_id
            assert status_of(read_all(connection)) == 499
    gateway.until(lambda: gateway.limits.open == 0)  # also of the one that asks


UPGRADE = KEPT.removesuffix(b"\r\n") + (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQA\r\n\r\n"
)


def test_an_upgrade_to_http_2_is_answered_in_http_1(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(UPGRADE)
        assert status_of(read_until(connection, b"}")) == 200


def test_http_2_itself_is_refused(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert 400 <= status_of(read_all(connection)) < 500


def test_a_client_that_leaves_in_an_upgrade_leaves_nothing(gateway: RunningGateway) -> None:
    for _ in range(8):
        with gateway.connect() as connection:
            connection.sendall(UPGRADE)
    gateway.until(lambda: gateway.limits.open == 0)


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("before", [b"", KEPT], ids=["alone", "behind another"])
def test_an_unfinished_request_is_not_waited_for_forever(
    scheduler: ScriptedScheduler, home: Path, sent: bytes, before: bytes
) -> None:
    limits = ConnectionLimits(request_seconds=0.2)
    with with_limits(scheduler, home, limits) as gateway, gateway.connect() as connection:
        connection.sendall(before + sent)
        read_all(connection)  # the end comes from the gateway


def test_a_trickle_does_not_prolong_it(scheduler: ScriptedScheduler, home: Path) -> None:
    limits = ConnectionLimits(request_seconds=0.3)
    with with_limits(scheduler, home, limits) as gateway, gateway.connect() as connection:
        connection.sendall(UNFINISHED["a part of the body"])
        connection.settimeout(0.05)
        for _ in range(int(WAIT / 0.05)):
            try:
                connection.sendall(b" ")
                if not connection.recv(100):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("the connection is still open")


def test_an_answer_may_take_longer_than_a_request(scheduler: ScriptedScheduler, home: Path) -> None:
    limits = ConnectionLimits(request_seconds=0.1)
    with with_limits(scheduler, home, limits) as gateway:
        gateway.run(asyncio.sleep(0.2))
        assert status_of(gateway.ask(HELLO)) == 200


def test_a_client_that_does_not_read_is_not_waited_for(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    limits = ConnectionLimits(write_seconds=0.2)
    with with_limits(scheduler, home, limits) as gateway, gateway.connect() as connection:
        connection.sendall(LARGE * 200)  # tens of megabytes of answers
        read_until(connection, b"openapi")
        gateway.until(lambda: gateway.limits.open == 0)  # also of the one that asks


# After two hundred answers to others, the answers to this client fill every buffer on their way.
@pytest.mark.parametrize("others", [0, 200], ids=["while it sends", "while the client must read"])
def test_a_connection_that_the_end_cuts_off_is_no_fault(
    scheduler: ScriptedScheduler, home: Path, caplog: pytest.LogCaptureFixture, others: int
) -> None:
    limits = ConnectionLimits()
    with (
        RunningGateway(scheduler.endpoint, home, limits=limits, grace_seconds=0.0) as gateway,
        gateway.connect() as connection,  # its client reads nothing, and stays
    ):
        connection.sendall(LARGE * 200)
        read_until(connection, b"openapi")
        for _ in range(others):
            gateway.send(request("GET", "/health"))
        gateway.stop()
        gateway.join()
    assert limits.open == 0
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_client_that_leaves_while_its_requests_wait(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    with with_limits(scheduler, home, ConnectionLimits()) as gateway:
        with gateway.connect() as connection:
            connection.sendall(LARGE * 200)
            read_until(connection, b"openapi")
        gateway.until(lambda: gateway.limits.open == 0)


def test_more_connections_than_allowed_are_refused(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    with with_limits(scheduler, home, ConnectionLimits(most=2)) as gateway:
        first, second = gateway.connect(), gateway.connect()
        for connection in (first, second):
            connection.sendall(KEPT)
            read_until(connection, b"}")
        with gateway.connect() as third:
            read_until(third, b"\r\n\r\n")  # the answer may come before the request
            third.sendall(LARGE * 2000)  # ... which resets no connection
            third.shutdown(socket.SHUT_WR)
            assert not read_all(third)
        gateway.until(lambda: gateway.limits.refused == 0)
        first.close()
        second.close()
        gateway.until(lambda: status_of(gateway.send(request("GET", "/health"))) == 200)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file descriptors")
@pytest.mark.parametrize(
    ("soft", "hard", "most"),
    [(512, 1024, 768), (1024, 100_000, 4096), (600, 600, 344), (300, 300, 150), (256, 256, 128)],
)
def test_descriptors_suffice_for_all_connections(soft: int, hard: int, most: int) -> None:
    code = f"""
import resource
allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, min({hard}, allowed)))
from cupola.gateway.connection import ConnectionLimits
print(ConnectionLimits.of_this_process().most, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed, soft_now, hard_now = map(int, done.stdout.split())
    assert allowed == most
    assert allowed + min(256, soft_now // 2) <= soft_now <= hard_now
