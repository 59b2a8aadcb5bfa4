"""A service that others can reach has keys, or somebody has said that it needs none."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from cupola.cache.home import Home
from cupola.cache.system.api_keys import ApiKey, KeyFile, digest, matching, new_key
from cupola.client.running_service import find, is_ready
from cupola.client.sdk.connection import Connection
from cupola.service.exposure import ExposedError, check_certificate, demands_keys, keys, local_key
from cupola.service.settings.settings import Settings
from tests.foundry.conftest import MODEL_ID, place
from tests.service.running_service import PATIENCE, Service


@pytest.mark.parametrize(
    ("given", "demanded"),
    [
        ({}, False),
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "192.168.1.5"}, True),
        ({"host": "box.example"}, True),
        ({"host": "0.0.0.0", "insecure": "yes"}, False),
        ({"api_keys": "always"}, True),
        ({"api_keys": "always", "insecure": "yes"}, True),
    ],
)
def test_who_needs_keys(given: dict[str, Any], demanded: bool, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, **given)
    assert demands_keys(settings) is demanded
    if demanded:
        with pytest.raises(ExposedError, match=r"cupola keys add NAME.*--insecure"):
            keys(settings, Home(tmp_path))
    else:
        assert keys(settings, Home(tmp_path)) == []


def test_a_key_of_the_file_is_enough(tmp_path: Path) -> None:
    KeyFile(Home(tmp_path).api_keys).add(ApiKey("one", digest(new_key())))
    assert keys(Settings(home=tmp_path, host="0.0.0.0"), Home(tmp_path)) == []


@pytest.mark.parametrize(("variable", "admin"), [("API", False), ("ADMIN", True)])
def test_a_key_of_the_environment_is_taken_out_of_it(
    variable: str, admin: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    monkeypatch.setenv(f"CUPOLA_{variable}_KEY", key)
    [found] = keys(Settings(home=tmp_path, host="0.0.0.0"), Home(tmp_path))
    assert (matching([found], key), found.admin) == (found, admin)
    assert key not in repr(found) and f"CUPOLA_{variable}_KEY" not in os.environ


def test_a_short_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPOLA_API_KEY", "letmein")
    with pytest.raises(ExposedError, match="CUPOLA_API_KEY can be guessed"):
        keys(Settings(home=tmp_path), Home(tmp_path))


def test_a_broken_file_of_keys_opens_nothing(tmp_path: Path) -> None:
    Home(tmp_path).api_keys.write_text("{")
    with pytest.raises(ExposedError, match=r"keys\.json"):
        keys(Settings(home=tmp_path, host="0.0.0.0"), Home(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes of files")
def test_the_commands_of_this_user_have_a_key_of_their_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert local_key(Settings(home=tmp_path), home, "http://127.0.0.1:1") == []
    [record] = local_key(Settings(home=tmp_path, host="0.0.0.0"), home, "http://127.0.0.1:1")
    assert stat.S_IMODE(home.local_key.stat().st_mode) == 0o600
    written = json.loads(home.local_key.read_text())
    assert matching([record], written["key"]) == record and record.admin


@pytest.mark.slow
def test_a_whole_service_with_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients need their key, the commands of the user have theirs, and no log has either."""
    home, key = Home(tmp_path), new_key()
    KeyFile(home.api_keys).add(ApiKey("one", digest(key)))
    place(tmp_path, MODEL_ID)
    settings: dict[str, object] = {"backend": "echo", "model": "", "api_keys": "always"}
    settings["log_format"] = "json"
    with Service(tmp_path, **settings) as running:
        running.ready()
        monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
        service = find(home)
        assert service is not None and is_ready(service)
        assert Connection(service.url, PATIENCE).loaded() == []
        listening = {
            connection.laddr.port
            for process in running.family()
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {service.port}  # no process has another one
        with httpx2.Client(base_url=running.url, timeout=PATIENCE) as http:
            assert http.get("/v1/models").status_code == 401
            allowed = {"Authorization": f"Bearer {key}"}
            asked = {"model": MODEL_ID, "messages": [{"role": "user", "content": "a-secret-word"}]}
            answer = http.post("/v1/chat/completions", json=asked, headers=allowed)
            assert answer.status_code == 200 and "a-secret-word" in answer.text  # the echo's
            assert "secret" not in http.get("/metrics", headers=allowed).text
            assert http.get("/v1/models", headers=allowed).status_code == 200
            assert http.post("/shutdown", headers=allowed).status_code == 403
            own = json.loads(home.local_key.read_text())["key"]
            operator = {"Authorization": f"Bearer {own}"}
            quiet = http.post("/admin/log-level", json={"level": "error"}, headers=operator)
            assert quiet.status_code == 200
            running.wait_for("the log has now: error")
            ended = http.post("/shutdown", headers=operator)
            assert ended.status_code == 200
        log = running.rest_of_log()
        assert running.process.wait(PATIENCE) == 0
    assert key not in log and own not in log and "secret" not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [chat] = [line for line in lines if line.get("path") == "/v1/chat/completions"]
    assert (chat["client"], chat["model"], chat["status"]) == ("one", MODEL_ID, 200)
    assert chat["completion_tokens"] > 0 and chat["id"].startswith("req_")
    assert not home.local_key.exists()


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for another name, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    file, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [openssl, *made.split(), "-subj", "/CN=box.example", "-keyout", key, "-out", file],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + key.read_text())
    return file


def test_a_certificate_is_checked_before_the_start(certificate: Path, tmp_path: Path) -> None:
    check_certificate(Settings(home=tmp_path))
    check_certificate(Settings(home=tmp_path, tls_certificate=str(certificate)))
    wrong: tuple[dict[str, Any], ...] = (
        {"tls_key": str(certificate)},
        {"tls_certificate": str(tmp_path / "none.pem")},
        {"tls_certificate": str(certificate), "tls_key": str(tmp_path)},
    )
    for given in wrong:
        with pytest.raises(ExposedError, match="tls_"):
            check_certificate(Settings(home=tmp_path, **given))


@pytest.mark.slow
def test_a_whole_service_with_tls(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own commands trust its certificate; the Unix socket has none; nothing else is spoken."""
    settings = {"backend": "echo", "model": "", "tls_certificate": certificate}
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    with Service(tmp_path, uds=tmp_path / "socket", **settings) as running:
        url = running.wait_for(r"ready on (https://\S+)")[1]
        service = find(Home(tmp_path))
        assert service is not None and service.url == url and is_ready(service)
        trusted = ssl.create_default_context(cafile=str(certificate))
        trusted.check_hostname = False
        with httpx2.Client(verify=trusted, timeout=PATIENCE) as http:
            answer = http.get(f"{url}/health")
            assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
        with httpx2.Client(timeout=PATIENCE) as http:
            with pytest.raises(httpx2.ConnectError):  # whom nobody has told of the certificate
                http.get(f"{url}/health")
            with pytest.raises(httpx2.HTTPError):
                http.get(f"{url.replace('https', 'http')}/health")
        unix = httpx2.HTTPTransport(uds=str(tmp_path / "socket"))
        with httpx2.Client(transport=unix, timeout=PATIENCE) as http:
            assert http.get("http://localhost/health").status_code == 200
