"""With ``tenants = keys`` the cache is salted by the client's key, whichever way it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import Submit, Work, decode_work
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

CHAT = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hello"}]}
MESSAGE = CHAT | {"max_tokens": 5}
COMPLETION = {"model": "smollm2-135m", "prompt": "Hello"}
RESPONSE = {"model": "smollm2-135m", "input": "Hello"}
BACKGROUND = RESPONSE | {"background": True}
PATHS = [
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", COMPLETION),
    ("/v1/responses", RESPONSE),
    ("/v1/responses", BACKGROUND),
    ("/v1/messages", MESSAGE),
    ("/api/chat", CHAT),
]


@pytest.fixture(scope="module")
def apart(
    shared_scheduler: ScriptedScheduler, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    home = furnished(tmp_path_factory.mktemp("apart"))
    with RunningGateway(shared_scheduler.endpoint, home, separate_tenants=True) as gateway:
        yield gateway


def salt(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    headers: dict[str, str],
    path: str = "/v1/chat/completions",
    body: Any = CHAT,
) -> str:
    """What the worker is told for a request."""
    with gateway.http() as http:
        assert http.post(path, json=body, headers=headers).status_code == 200
    work = decode_work(scheduler.next(Submit).work)
    assert isinstance(work, Work)
    return work.cache_salt


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_each_key_has_a_salt_of_its_own(apart, shared_scheduler, path, body):
    one = salt(apart, shared_scheduler, {"Authorization": "Bearer one"}, path, body)
    two = salt(apart, shared_scheduler, {"Authorization": "Bearer two"}, path, body)
    again = salt(apart, shared_scheduler, {"x-api-key": "one"}, path, body)
    none = salt(apart, shared_scheduler, {}, path, body)
    assert one == again
    assert len({one, two, none, ""}) == 4
    assert "one" not in one


def test_a_salt_of_the_clients_own_divides_further_and_never_unites(apart, shared_scheduler):
    found = {
        salt(apart, shared_scheduler, {"x-api-key": key}, body=CHAT | {"cache_salt": own})
        for key in ("one", "two")
        for own in ("a", "b")
    }
    assert len(found) == 4


def test_by_default_all_clients_are_one_tenant(shared_gateway, shared_scheduler):
    for key in ("one", "two"):
        headers = {"Authorization": f"Bearer {key}"}
        assert salt(shared_gateway, shared_scheduler, headers) == ""
    body = CHAT | {"cache_salt": "mine"}
    assert salt(shared_gateway, shared_scheduler, {}, body=body) == "mine"
