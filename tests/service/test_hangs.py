"""Processes that stop making progress, and processes that tell each other more than is read."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from cupola.gateway.foundry.register import MAX_BYTES
from tests.service.running_service import MODEL, PATIENCE, Service, eventually

PARALLEL = 6
STOP = getattr(signal, "SIGSTOP", None)
pytestmark = pytest.mark.skipif(STOP is None, reason="this system cannot stop a process")


@pytest.fixture
def echo(place_model: Callable[[Path], Path], tmp_path: Path) -> Iterator[Service]:
    place_model(tmp_path)
    with Service(tmp_path, backend="echo", stall_seconds=5) as service:
        yield service.ready()


def answers(service: Service) -> bool:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
    try:
        answer = httpx2.post(f"{service.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    except httpx2.TransportError:  # it met the process that was being killed
        return False
    return answer.status_code == 200


def test_a_stopped_process_is_killed_and_started_again(echo: Service) -> None:
    for name in ("worker cpu:0/0", "scheduler", "gateway"):
        process = echo.child(name)
        process.send_signal(signal.SIGSTOP)
        echo.wait_for(r"killing the .*: it has made no progress for \d+ s")
        process.wait(PATIENCE)
        eventually(lambda: answers(echo))
        assert echo.child(name).pid != process.pid


def registration(number: int, **values: str) -> dict[str, str]:
    address = "http://localhost:9/v1"
    return {"ModelName": f"m{number}", "BaseUri": address, "ApiKey": "k"} | values


def register(service: Service, bodies: list[dict[str, str]]) -> list[int]:
    def post(body: dict[str, str]) -> int:
        return httpx2.post(
            f"{service.url}/openai/register", json=body, timeout=PATIENCE
        ).status_code

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(post, bodies))


def ends_in_order(service: Service) -> bool:
    service.process.send_signal(signal.SIGTERM)
    return service.process.wait(PATIENCE) == 0


def test_values_that_are_too_long_are_refused(echo: Service) -> None:
    for key in MAX_BYTES:
        values = {key: "http://localhost/" * (250_000 // 17)}
        bodies = [registration(number, **values) for number in range(PARALLEL)]
        assert register(echo, bodies) == [400] * PARALLEL, key
    assert ends_in_order(echo)


def largest(number: int) -> dict[str, str]:
    name = f"{number:03}".ljust(MAX_BYTES["ModelName"], "m")
    return registration(number, ModelName=name, ApiKey="k" * MAX_BYTES["ApiKey"])


def test_many_of_the_largest_registrations_reach_a_new_gateway_too(echo: Service) -> None:
    """Together they are more than a socket holds."""
    bodies = [largest(number) for number in range(20 * PARALLEL)]
    assert register(echo, bodies) == [200] * len(bodies)
    gateway = echo.child("gateway")
    gateway.kill()  # the new one is told all of them at its start
    gateway.wait(PATIENCE)
    eventually(lambda: answers(echo))
    assert echo.child("gateway").pid != gateway.pid
    eventually(lambda: len(registered(echo)) == len(bodies))
    assert ends_in_order(echo)


def registered(service: Service) -> list[str]:
    models = httpx2.get(f"{service.url}/openai/models", timeout=PATIENCE).json()
    return [name for name in models if str(name)[0].isdigit()]


def test_a_stopped_gateway_does_not_hold_the_others_or_the_stop(
    place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    place_model(tmp_path)
    with Service(tmp_path, backend="echo", gateways=2, grace_seconds=0) as service:
        service.ready()
        service.child("gateway").send_signal(signal.SIGSTOP)
        # A process that is stopped accepts nothing: the other takes all new connections.
        bodies = [largest(number) for number in range(10 * PARALLEL)]
        assert register(service, bodies) == [200] * len(bodies)
        assert ends_in_order(service)
