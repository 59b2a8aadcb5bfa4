"""With ``tenants = keys`` each API key is a tenant, whichever way it is sent.

That the worker keeps tenants apart is tested in ``tests/workers/test_worker.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import Outputs, Submit, decode_work, encode
from cupola.scheduler.protocol.outputs import Output, Usage
from cupola.scheduler.protocol.tasks import Work
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, words

pytestmark = pytest.mark.slow

CHAT: dict[str, object] = {
    "model": "smollm2-135m",
    "messages": [{"role": "user", "content": "Hello"}],
}
MESSAGE = CHAT | {"max_tokens": 5}
COMPLETION = {"model": "smollm2-135m", "prompt": "Hello"}
RESPONSE: dict[str, object] = {"model": "smollm2-135m", "input": "Hello"}
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


@pytest.fixture(autouse=True)
def answered_with_words(shared_scheduler: ScriptedScheduler) -> None:
    shared_scheduler.script = words


def submitted(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    headers: dict[str, str],
    path: str = "/v1/chat/completions",
    body: Any = CHAT,
) -> Submit:
    """What the scheduler gets for a request."""
    with gateway.http() as http:
        assert http.post(path, json=body, headers=headers).status_code == 200
    return scheduler.next(Submit)


def salt(submit: Submit) -> str:
    work = decode_work(submit.work)
    assert isinstance(work, Work)
    return work.cache_salt


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_each_key_is_a_tenant(
    apart: RunningGateway, shared_scheduler: ScriptedScheduler, path: str, body: dict[str, object]
) -> None:
    def tenant(headers: dict[str, str]) -> str:
        submit = submitted(apart, shared_scheduler, headers, path, body)
        assert salt(submit) == ""
        return submit.tenant

    one = tenant({"Authorization": "Bearer one"})
    two = tenant({"Authorization": "Bearer two"})
    again = tenant({"x-api-key": "one"})
    none = tenant({})
    assert one == again
    assert len({one, two, none, ""}) == 4


def test_what_is_not_generated_has_a_tenant_too(
    apart: RunningGateway, shared_scheduler: ScriptedScheduler
) -> None:
    def tokens(submit: Submit) -> Iterator[Outputs]:
        yield Outputs((Output(submit.request_id, usage=Usage(1, 0), tokens=(7,)),))

    key = {"x-api-key": "one"}
    tenant = submitted(apart, shared_scheduler, key).tenant
    shared_scheduler.script = tokens
    submit = submitted(apart, shared_scheduler, key, "/tokenize", {"content": "Hello"})
    assert submit.tenant == tenant != ""


def test_a_key_is_not_sent_on(apart: RunningGateway, shared_scheduler: ScriptedScheduler) -> None:
    key = "sk-a-secret-that-stays"
    submit = submitted(apart, shared_scheduler, {"Authorization": f"Bearer {key}"})
    assert key.encode() not in encode(submit)


def test_a_salt_of_the_clients_own_is_passed_on_beside_the_tenant(
    apart: RunningGateway, shared_scheduler: ScriptedScheduler
) -> None:
    found = set()
    for key in ("one", "two"):
        for own in ("a", "b"):
            body = CHAT | {"cache_salt": own}
            submit = submitted(apart, shared_scheduler, {"x-api-key": key}, body=body)
            assert salt(submit) == own
            found.add((submit.tenant, salt(submit)))
    assert len(found) == 4


def test_by_default_all_clients_are_one_tenant(
    shared_gateway: RunningGateway, shared_scheduler: ScriptedScheduler
) -> None:
    for key in ("one", "two"):
        submit = submitted(shared_gateway, shared_scheduler, {"Authorization": f"Bearer {key}"})
        assert (submit.tenant, salt(submit)) == ("", "")
    submit = submitted(shared_gateway, shared_scheduler, {}, body=CHAT | {"cache_salt": "mine"})
    assert (submit.tenant, salt(submit)) == ("", "mine")
