"""The ways to the service: a port on either loopback address, and a Unix socket."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from cupola.service.listener import PortError
from cupola.service.unix_socket import listen_unix, remove_dead
from tests.foundry.conftest import client
from tests.foundry.wire import PATIENCE
from tests.service.running_service import Service


def through(path: Path) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(path))
    return httpx2.Client(transport=transport, base_url="http://localhost", timeout=PATIENCE)


def test_unix_socket(start: Callable[..., Service], tmp_path: Path) -> None:
    path = tmp_path / "cupola.sock"
    service = start(uds=path)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    with through(path) as near, client(service) as http:
        status = near.get("/openai/status").json()
        assert status == http.get("/openai/status").json()
        assert status["pipeName"] is None
        assert near.post("/shutdown").json() == {"status": "shutting_down"}
    service.process.wait(PATIENCE)
    assert list(tmp_path.glob("*.sock*")) == []


def test_a_socket_that_a_dead_service_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_unix(path).close()
    assert path.exists()
    with listen_unix(path) as again:
        assert again.getsockname()
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(path))


def test_a_socket_in_use_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_unix(path):
        with pytest.raises(PortError, match="File exists"):
            listen_unix(path)
        remove_dead(path)
        assert path.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(PortError, match="File exists"):
        listen_unix(path)
    remove_dead(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/s", "s" * 200])
def test_paths_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(PortError, match="cannot listen on the Unix socket"):
        listen_unix(tmp_path / name)


@pytest.fixture
def has_ipv6() -> Iterator[None]:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            yield
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


def test_ipv6_loopback(start: Callable[..., Service], has_ipv6: None) -> None:
    service = start(host="::1")
    assert service.url.startswith("http://[::1]:")
    with client(service) as http:
        assert http.get("/openai/status").json()["endpoints"] == [service.url]


def test_localhost_is_both_addresses(start: Callable[..., Service], has_ipv6: None) -> None:
    service = start(host="localhost")
    port = httpx2.URL(service.url).port
    for address in (f"http://127.0.0.1:{port}", f"http://[::1]:{port}", f"http://localhost:{port}"):
        assert httpx2.get(f"{address}/health", timeout=PATIENCE).json() == {"status": "ok"}


def test_a_chosen_port_stays_the_same(start: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        service = start(port=port)
        assert service.url == f"http://127.0.0.1:{port}"
        with client(service) as http:
            http.post("/shutdown")
        service.process.wait(PATIENCE)
