"""A gateway that has no file descriptor left: it takes no connections, and recovers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.service.running_service import PATIENCE, Service, eventually

pytestmark = pytest.mark.slow

RLIMIT = getattr(psutil, "RLIMIT_NOFILE", None)
MORE = 40  # connections than there are descriptors


@pytest.mark.skipif(RLIMIT is None, reason="no limit of another process can be changed here")
def test_connections_without_a_descriptor_wait_and_are_served(
    place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    place_model(tmp_path)
    with Service(tmp_path, backend="echo") as service:
        address = urlsplit(service.ready().url)
        gateway = service.child("gateway")
        assert RLIMIT is not None
        limits = gateway.rlimit(RLIMIT)
        with ExitStack() as opened:
            gateway.rlimit(RLIMIT, (gateway.num_fds() + 5, limits[1]))
            for _ in range(MORE):
                where = (address.hostname or "", address.port or 0)
                opened.enter_context(socket.create_connection(where, timeout=PATIENCE))
            service.wait_for(r"[Tt]oo many open files|out of system resource")
            assert gateway.is_running()
        gateway.rlimit(RLIMIT, limits)

        def answers() -> bool:
            try:
                return httpx2.get(f"{service.url}/ready", timeout=PATIENCE).is_success
            except httpx2.TransportError:
                return False

        eventually(answers)
        assert service.child("gateway").pid == gateway.pid
