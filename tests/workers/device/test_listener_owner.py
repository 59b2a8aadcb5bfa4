"""Whose process listens on a port, by its command line."""

from __future__ import annotations

import os
import socket

import pytest

from cupola.workers.device.machine import is_service, listener


@pytest.mark.parametrize(
    ("command", "service"),
    [
        (["/venv/bin/python", "-m", "cupola.service"], True),
        (["/venv/bin/python3.12", "/venv/bin/cupola", "serve", "--port", "5273"], True),
        (["C:\\venv\\Scripts\\cupola.exe", "serve"], os.name == "nt"),
        (["/venv/bin/cupola", "serve"], True),
        (["/venv/bin/python", "/venv/bin/cupola", "chat"], False),
        (["python", "-m", "http.server"], False),
        (["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(5)"], False),
        (["/srv/cupola/serve"], False),
        ([], False),
    ],
)
def test_the_command_of_a_service(command: list[str], service: bool) -> None:
    assert is_service(command) is service


def test_a_program_that_is_no_service_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        owner = listener(server.getsockname()[1])
    assert owner is not None
    assert (owner.pid, owner.is_service) == (os.getpid(), False)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert listener(port) is None
