"""The port: both loopback addresses, where there are both."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cupola.cache.home import Home
from cupola.client.running_service import configured_url, find
from cupola.service.listener import PortError, listen
from tests.service.running_service import PATIENCE, Service


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[list[tuple[str, int]], str]]:
    found = listen(host, port)
    try:
        yield [sock.getsockname()[:2] for sock in found.sockets], found.problem
    finally:
        for sock in found.sockets:
            sock.close()


@ipv6
def test_localhost_is_two_addresses_on_one_port() -> None:
    with listening("localhost", 0) as (addresses, problem):
        assert [host for host, _ in addresses] == ["127.0.0.1", "::1"]
        assert len({port for _, port in addresses}) == 1
        assert problem == ""


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=ipv6)])
def test_an_address_is_itself_only(host: str) -> None:
    with listening(host, 0) as (addresses, problem):
        assert [each for each, _ in addresses] == [host]
        assert problem == ""


def refusing(monkeypatch: pytest.MonkeyPatch, code: int, times: int = 1000) -> None:
    """The system refuses ::1 the first ``times``."""
    real = socket.socket.bind
    left = [times]

    def bind(sock: socket.socket, address: Any) -> None:
        if address[0] == "::1" and left[0]:
            left[0] -= 1
            raise OSError(code, "refused")
        real(sock, address)

    monkeypatch.setattr(socket.socket, "bind", bind)


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPERM])
def test_without_ipv6_there_is_ipv4_alone_and_no_noise(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refusing(monkeypatch, code)
    with listening("localhost", 0) as (addresses, problem):
        assert [host for host, _ in addresses] == ["127.0.0.1"]
        assert problem == ""


@ipv6
def test_a_free_port_is_free_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EADDRINUSE, times=3)
    with listening("localhost", 0) as (addresses, problem):
        assert len(addresses) == 2 and len({port for _, port in addresses}) == 1
        assert problem == ""


def test_a_search_for_a_free_port_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EADDRINUSE)
    with pytest.raises(PortError, match="--port"):
        listen("localhost", 0)


@ipv6
def test_a_port_that_is_taken_in_ipv6_only_is_told() -> None:
    with closing(listen("::1", 0).sockets[0]) as other:
        port = other.getsockname()[1]
        with listening("localhost", port) as (addresses, problem):
            assert addresses == [("127.0.0.1", port)]
            assert f"port {port} of ::1 is in use" in problem


def test_a_port_that_is_taken_in_ipv4_is_refused() -> None:
    with closing(listen("127.0.0.1", 0).sockets[0]) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} is in use"):
            listen("localhost", port)


@pytest.mark.slow
@ipv6
def test_a_service_listens_on_both_and_says_one_url(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with closing(listen("127.0.0.1", 0).sockets[0]) as free:
        ollama = free.getsockname()[1]
    with Service(tmp_path, model="", backend="echo", ollama_port=ollama) as service:
        service.ready()
        port = int(service.url.rpartition(":")[2])
        assert service.url == f"http://127.0.0.1:{port}"
        assert json.loads(home.daemon_file.read_text())["web_urls"] == [service.url]
        found = find(home)
        assert found is not None and found.url == service.url
        for host in ("127.0.0.1", "[::1]", "localhost"):
            status = httpx2.get(f"http://{host}:{port}/openai/status", timeout=PATIENCE)
            assert status.json()["endpoints"] == [service.url]
            tags = httpx2.get(f"http://{host}:{ollama}/api/tags", timeout=PATIENCE)
            assert tags.status_code == 200


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:5273"),
        ("\ufeffport = 8080\n", "http://127.0.0.1:8080"),
        ('host = "::1"\n', "http://[::1]:5273"),
        ('host = "0.0.0.0"\n', "http://127.0.0.1:5273"),
        ("port = 0\n", None),
    ],
)
def test_the_address_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, url: str | None
) -> None:
    for name in ("CUPOLA_HOST", "CUPOLA_PORT"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path)
    home.settings_file.write_text(text, "utf-8")
    assert configured_url(home) == url
