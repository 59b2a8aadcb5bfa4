"""What every request passes: raw sockets, because clients are too polite to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from cupola.cache.store import ModelCache
from cupola.cache.system.line_rate import BURST
from cupola.cache.system.local_url import is_loopback
from cupola.gateway.apis import ERROR_FORMATS
from cupola.gateway.http.error_formats import ErrorFormats
from cupola.gateway.http.middleware import RequestLog
from cupola.gateway.http.served import Finished
from cupola.scheduler.protocol.messages import Abort, Outputs, Submit
from cupola.scheduler.protocol.outputs import Output
from tests.gateway.running_gateway import (
    HELLO,
    MODEL_ID,
    RunningGateway,
    error_of,
    read_until,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import ScriptedScheduler

CHAT = "/v1/chat/completions"
BODY = json.dumps(HELLO).encode()
ROUTES = [
    ("POST", CHAT),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/status"),
    ("POST", "/shutdown"),
    ("GET", "/"),
    ("DELETE", "/v1/models/x"),
    ("GET", "/nothing"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway for the many tests that leave nothing behind. It has no model."""
    home = tmp_path_factory.mktemp("home")
    with (
        ScriptedScheduler() as scheduler,
        RunningGateway(scheduler.endpoint, home, max_body_bytes=10_000) as gateway,
    ):
        yield gateway


# -- request ids and the log -----------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_has_its_own_request_id(
    gateway: RunningGateway, method: str, path: str
) -> None:
    ids = set()
    for _ in range(2):
        answer = gateway.send(request(method, path, BODY if path == CHAT else b""))
        [request_id] = re.findall(rb"x-request-id: (req_[0-9a-f]{32})\r\n", answer)
        ids.add(request_id)
    assert len(ids) == 2


def test_clients_own_id_comes_back(shared: RunningGateway) -> None:
    answer = shared.send(request("GET", "/health", b"", "X-Client-Request-Id: mine-1"))
    assert b"x-client-request-id: mine-1\r\n" in answer


@pytest.mark.parametrize("bad", ["a" * 513, "two words", "\xe4"])
def test_strange_client_id_is_left_out(shared: RunningGateway, bad: str) -> None:
    answer = shared.send(request("GET", "/health", b"", f"X-Client-Request-Id: {bad}"))
    assert status_of(answer) == 200 and b"x-client-request-id" not in answer


def test_a_flood_makes_few_lines_and_the_requests_are_told_of_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    told: list[Finished] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def nothing(*_: object) -> None:
        return None

    async def flood() -> None:
        whole = ErrorFormats(RequestLog(app, [told.append]), ERROR_FORMATS)
        for _ in range(3000):
            scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}
            await whole(scope, nothing, nothing)  # type: ignore[arg-type]  # it asks for nothing

    asyncio.run(flood())
    assert len(told) == 3000
    assert BURST <= sum(r.name == "cupola.gateway.access" for r in caplog.records) < 3000


def access_lines(gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> list[str]:
    """All of them: a line is written after its answer, so the gateway is stopped first."""
    gateway.stop()
    gateway.join()
    return [r.getMessage() for r in caplog.records if r.name == "cupola.gateway.access"]


def test_log_line_has_no_secrets(
    gateway: RunningGateway, scheduler: ScriptedScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = f"{CHAT}?key=secret%0aforged"
    gateway.send(request("POST", path, BODY, "Authorization: Bearer secret"))
    [line] = access_lines(gateway, caplog)
    about = rf"model={MODEL_ID} prompt_tokens=5 cached_tokens=2 completion_tokens=3 ttft_ms=\d+"
    assert re.fullmatch(rf"POST {CHAT} 200 \d+ ms id=req_\w+ {about}", line)
    assert "secret" not in caplog.text and "Hello" not in caplog.text


def test_log_line_of_an_answer_that_did_not_end(
    gateway: RunningGateway, scheduler: ScriptedScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scheduler.script = None
    with gateway.post(HELLO | {"stream": True}) as connection:
        scheduler.send(Outputs((Output(scheduler.next(Submit).request_id, "Hel"),)))
        read_until(connection, b"Hel")
    scheduler.next(Abort)
    [line] = access_lines(gateway, caplog)
    about = rf"model={MODEL_ID} outcome=unfinished ttft_ms=\d+"
    assert re.fullmatch(rf"POST {CHAT} 200 \d+ ms id=req_\w+ {about}", line)


def test_line_break_in_a_path_makes_no_second_line(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gateway.send(request("GET", "/a%0ab"))
    [line] = access_lines(gateway, caplog)
    assert re.fullmatch(r"GET /a%0ab 404 \d+ ms id=req_\w+", line)


def test_what_nobody_caught_is_a_500_without_internals(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: ModelCache) -> None:
        raise RuntimeError("/a/secret/path")

    monkeypatch.setattr(ModelCache, "scan", broken)
    answer = gateway.send(request("GET", "/v1/models"))
    error = error_of(answer)
    assert (status_of(answer), error["code"]) == (500, "internal_error")
    assert b"secret" not in answer and b"RuntimeError" not in answer
    request_id = re.findall(rb"x-request-id: (\w+)", answer)[0].decode()
    assert request_id in error["message"]
    assert f"request {request_id} failed" in caplog.text


# -- routes that are not there ---------------------------------------------------------------------


def test_unknown_route(shared: RunningGateway) -> None:
    answer = shared.send(request("GET", "/v1/nothing"))
    assert (status_of(answer), error_of(answer)["code"]) == (404, "unknown_url")


def test_wrong_method(shared: RunningGateway) -> None:
    answer = shared.send(request("GET", CHAT))
    assert (status_of(answer), error_of(answer)["code"]) == (405, "method_not_allowed")
    assert b"allow: POST\r\n" in answer


@pytest.mark.parametrize("path", ["/v1/models/../../etc/passwd", "//healthy", "/%00"])
def test_strange_paths(shared: RunningGateway, path: str) -> None:
    assert status_of(shared.send(request("GET", path))) == 404


# -- bodies ----------------------------------------------------------------------------------------


def chunked(size: int, piece: int) -> list[bytes]:
    chunk = b"%x\r\n%s\r\n" % (piece, b" " * piece)
    return [chunk] * (size // piece) + [b"0\r\n\r\n"]


def test_long_body(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    body = BODY + b" " * gateway.config.max_body_bytes
    answer = gateway.send(request("POST", CHAT, body))
    assert (status_of(answer), error_of(answer)["code"]) == (413, "request_too_large")
    assert scheduler.seen.empty()


def test_body_of_exactly_the_limit(gateway: RunningGateway) -> None:
    body = BODY + b" " * (gateway.config.max_body_bytes - len(BODY))
    assert status_of(gateway.send(request("POST", CHAT, body))) == 200


@pytest.mark.parametrize("path", [CHAT, "/health", "/nothing"])
@pytest.mark.parametrize("piece", [1000, 10])
def test_long_body_without_a_length(shared: RunningGateway, path: str, piece: int) -> None:
    head = request("POST", path, b"", "Transfer-Encoding: chunked")
    answer = shared.send(head, *chunked(2 * shared.config.max_body_bytes, piece))
    assert (status_of(answer), error_of(answer)["code"]) == (413, "request_too_large")


def test_body_in_small_chunks(gateway: RunningGateway) -> None:
    head = request("POST", CHAT, b"", "Transfer-Encoding: chunked")
    pieces = [b"1\r\n%c\r\n" % byte for byte in BODY]
    assert status_of(gateway.send(head, *pieces, b"0\r\n\r\n")) == 200


def test_announced_length_is_enough_to_refuse(shared: RunningGateway) -> None:
    head = request("POST", CHAT, b"", "Content-Length: 99999999999")
    with shared.connect() as connection:
        connection.sendall(head)  # and no body at all
        answer = read_until(connection, b"request_too_large")
    assert status_of(answer) == 413


def test_endless_body_is_cut_off(scheduler: ScriptedScheduler, home: Path) -> None:
    """The server neither reads for ever nor gets stuck in its own queue of ten, whatever it holds
    when the answer is over."""
    piece = b"".join(chunked(10_000, 10)[:-1])
    with RunningGateway(scheduler.endpoint, home, max_body_bytes=1000) as gateway:
        for more in range(12):
            with gateway.connect() as connection, contextlib.suppress(ConnectionError):
                connection.sendall(request("POST", CHAT, b"", "Transfer-Encoding: chunked"))
                connection.sendall(b"1\r\nx\r\n" * more)
                while True:
                    connection.sendall(piece)
        gateway.until(lambda: gateway.connections() == 0)


def test_client_that_leaves_in_its_body(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    with gateway.connect() as connection:
        connection.sendall(request("POST", CHAT, b"", "Content-Length: 1000") + BODY)
    gateway.ask(HELLO)
    scheduler.next(Submit)
    assert scheduler.seen.empty()


# -- hosts -----------------------------------------------------------------------------------------

GOOD_HOSTS = ["localhost", "LocalHost:5273", "127.0.0.1", "127.1.2.3:80", "[::1]:5273", "[::1]"]
FOREIGN_HOSTS = ["evil.example", "evil.example:5273", "localhost.evil.example", "192.168.1.1",
                 "127.0.0.1.nip.io", "0.0.0.0", "[::2]"]  # fmt: skip
BROKEN_HOSTS = ["", "localhost/", "localhost?x", "localhost#x", "a b", "user@localhost",
                "localhost:port", "localhost:80:80", "[::1", "localhost/v1?b="]  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_local_host(shared: RunningGateway, host: str) -> None:
    assert status_of(shared.send(request("GET", "/health", host=host))) == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_host(shared: RunningGateway, host: str) -> None:
    answer = shared.send(request("GET", "/health", host=host))
    assert (status_of(answer), error_of(answer)["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize("host", BROKEN_HOSTS)
def test_broken_host(shared: RunningGateway, host: str) -> None:
    assert status_of(shared.send(request("GET", "/health", host=host))) == 400


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_is_left_out(shared: RunningGateway, method: str, path: str) -> None:
    for host, status in (("evil.example", 403), ("localhost/x?b=", 400)):
        body = BODY if path == CHAT else b""
        assert status_of(shared.send(request(method, path, body, host=host))) == status
    assert shared.told == []


def test_no_host_at_all(shared: RunningGateway) -> None:
    assert status_of(shared.send(b"GET /v1/models HTTP/1.0\r\n\r\n")) == 400
    assert status_of(shared.send(b"GET /health HTTP/1.1\r\n\r\n")) == 400


def test_public_address_has_other_names(scheduler: ScriptedScheduler, home: Path) -> None:
    with RunningGateway(
        scheduler.endpoint, home, host="0.0.0.0", hosts=("box.example",)
    ) as gateway:
        assert status_of(gateway.send(request("GET", "/health", host="box.example"))) == 200
        assert status_of(gateway.send(request("GET", "/health", host="evil.example"))) == 403
        assert status_of(gateway.send(request("GET", "/health", host="localhost/x"))) == 400


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("::1", True), ("127.9.9.9", True), ("::", False), ("0.0.0.0", False),
     ("10.0.0.1", False), ("", False), ("localhost.", True), ("local", False)],
)  # fmt: skip
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "evil"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_foreign_origin(shared: RunningGateway, origin: str, method: str, path: str) -> None:
    body = BODY if path == CHAT else b""
    answer = shared.send(request(method, path, body, f"Origin: {origin}"))
    assert (status_of(answer), error_of(answer)["code"]) == (403, "forbidden_origin")
    assert shared.told == []


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:1"])
def test_local_origin(gateway: RunningGateway, origin: str) -> None:
    assert status_of(gateway.send(request("POST", CHAT, BODY, f"Origin: {origin}"))) == 200


def test_public_address_allows_its_own_origin_only(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    with RunningGateway(
        scheduler.endpoint, home, host="0.0.0.0", hosts=("box.example",)
    ) as gateway:
        for origin, status in (("http://box.example:1", 200), ("http://localhost:3000", 403)):
            sent = request("GET", "/health", b"", f"Origin: {origin}", host="box.example:1")
            assert status_of(gateway.send(sent)) == status


@pytest.mark.parametrize(("mode", "status"), [("no-cors", 403), ("navigate", 200)])
def test_request_of_a_foreign_page_without_an_origin(
    shared: RunningGateway, mode: str, status: int
) -> None:
    headers = ("Sec-Fetch-Site: cross-site", f"Sec-Fetch-Mode: {mode}")
    assert status_of(shared.send(request("GET", "/", b"", *headers))) == status
