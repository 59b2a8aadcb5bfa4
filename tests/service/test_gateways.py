"""Two gateways behave like one: the queue, limits, stored responses and figures are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service.running_service import MODEL, PATIENCE, Service, counters, eventually

pytestmark = pytest.mark.slow

ANSWERED = 'cupola_requests_total{outcome="answered"}'
BODY = {"model": MODEL, "prompt": "one two", "max_tokens": 5}
LONG = BODY | {"max_tokens": 200_000, "stream": True}


@pytest.fixture
def service(place_model: Callable[[Path], Path], tmp_path: Path) -> Iterator[Service]:
    place_model(tmp_path)
    limits = {"slots": 1, "spare_slots": 0, "queue_limit": 1}
    with Service(tmp_path, backend="echo", gateways=2, **limits) as service:
        yield service.ready()


@pytest.fixture
def both(service: Service) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """A client of each gateway: its connection stays, and so its gateway."""
    with ExitStack() as stack:
        clients: dict[int, httpx2.Client] = {}

        def found_both() -> bool:
            client = httpx2.Client(base_url=service.url, timeout=PATIENCE)
            with ExitStack() as unless_new:
                unless_new.enter_context(client)
                gateway = client.get("/ready").json()["processes"]["gateway"]
                if gateway not in clients:
                    clients[gateway] = client
                    stack.push(unless_new.pop_all())
            return len(clients) == 2

        eventually(found_both)
        one, other = clients.values()
        yield one, other


def test_two_gateways_behave_like_one(
    service: Service, both: tuple[httpx2.Client, httpx2.Client]
) -> None:
    for client in both:
        assert client.post("/v1/completions", json=BODY).status_code == 200
    for client in both:
        eventually(partial(answered, service, client, 2))

    one, other = both
    stored = one.post("/v1/responses", json={"model": MODEL, "input": "Hi"}).json()
    assert other.get(f"/v1/responses/{stored['id']}").json()["output"] == stored["output"]

    # One request runs and one waits: each is a stream through another gateway, which reads on.
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        stack.enter_context(one.stream("POST", "/v1/completions", json=LONG))
        waiting = pool.submit(other.post, "/v1/completions", json=BODY)
        eventually(lambda: ready(service)["queued"] == 1)
        for _ in range(6):  # new connections come to either gateway
            refused = httpx2.post(f"{service.url}/v1/completions", json=BODY, timeout=PATIENCE)
            assert refused.status_code in (429, 503), refused.text
            assert int(refused.headers["retry-after"]) >= 1
        stack.close()  # the first one leaves, and the second has its turn
        assert waiting.result(PATIENCE).status_code == 200


def answered(service: Service, client: httpx2.Client, count: int) -> bool:
    return counters(service, client)[ANSWERED] == count


def ready(service: Service) -> dict[str, Any]:
    return dict(httpx2.get(f"{service.url}/ready", timeout=PATIENCE).json())
