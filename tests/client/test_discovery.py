"""Finding the service: the file says where to ask, the answer says whether it is there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cupola.cache.home import Home
from cupola.cache.system.local_url import local_url
from cupola.client import running_service
from cupola.client.errors import NoAnswerError
from cupola.client.running_service import RunningService, find
from cupola.service.settings.settings import Settings


@pytest.fixture(autouse=True)
def no_service_of_the_machine(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("CUPOLA_PORT", str(free.getsockname()[1]))
    monkeypatch.delenv("CUPOLA_HOST", raising=False)
    home.root.mkdir()


@contextmanager
def answering(status: Any) -> Iterator[str]:
    """The URL of a server that answers every question with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(status).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def status_of(home: Home, pid: int = 4242) -> dict[str, Any]:
    return {"endpoints": [], "modelCachePath": str(home.models), "pid": pid}


def announce(home: Home, url: str, pid: int = 4242) -> None:
    home.daemon_file.write_text(json.dumps({"web_urls": [url], "pid": pid}))


def test_the_service_of_the_file(home: Home) -> None:
    with answering(status_of(home)) as url:
        announce(home, url)
        assert find(home) == RunningService(url, 4242)


def test_no_file_and_nothing_listens(home: Home) -> None:
    assert find(home) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"web_urls": [], "pid": 1}', '{"web_urls": ["nonsense"], "pid": 1}']
)
def test_a_file_that_says_nothing(home: Home, text: str) -> None:
    home.daemon_file.write_text(text)
    assert find(home) is None


def test_a_stale_file_whose_port_is_free(home: Home) -> None:
    with answering(status_of(home)) as url:
        pass
    announce(home, url)
    assert find(home) is None


@pytest.mark.parametrize("answer", [{"hello": "world"}, ["a list"], "text", {"pid": "x"}])
def test_a_stale_file_whose_port_another_program_has(home: Home, answer: object) -> None:
    with answering(answer) as url:
        announce(home, url)
        assert find(home) is None


def test_a_stale_file_whose_port_another_folders_service_has(home: Home) -> None:
    with answering(status_of(Home(home.root / "other"), pid=7)) as url:
        announce(home, url)
        assert find(home) is None


def test_a_program_that_does_not_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_service, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        announce(home, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NoAnswerError) as caught:
            find(home)
    assert "http://" not in str(caught.value) + caught.value.hint  # programs look for a URL there


def test_without_a_file_the_configured_address_is_asked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status_of(home)) as url:
        monkeypatch.setenv("CUPOLA_PORT", url.rpartition(":")[2])
        assert find(home) == RunningService(url, 4242)


def test_the_configured_address_of_another_folders_service(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status_of(Home(home.root / "other"))) as url:
        monkeypatch.setenv("CUPOLA_PORT", url.rpartition(":")[2])
        assert find(home) is None


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("localhost", "127.0.0.1")]
)
def test_addresses_for_all_are_asked_here(
    home: Home, monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    monkeypatch.setenv("CUPOLA_HOST", host)
    monkeypatch.setenv("CUPOLA_PORT", "81")
    assert running_service.configured_url(home) == f"http://{shown}:81"


def test_the_shortcut_for_the_default_address_is_that_of_the_settings(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUPOLA_PORT")
    defaults = Settings.model_validate({})
    assert running_service.configured_url(home) == local_url(defaults.host, defaults.port)
    home.settings_file.write_text("port = 90")
    monkeypatch.setenv("CUPOLA_HOME", str(home.root))
    assert running_service.configured_url(home) == "http://127.0.0.1:90"
