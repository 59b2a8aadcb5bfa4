"""Responses with ``background: true``: polled, cancelled here or elsewhere, and ended with us."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from cupola.gateway.openai.responses.store import ResponseStore
from cupola.scheduler.protocol.messages import Abort, ErrorCode, Outputs, Rejected, Submit
from cupola.scheduler.protocol.outputs import Output
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, last

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!", "background": True}


@pytest.fixture(autouse=True)
def _by_hand(scheduler: ScriptedScheduler) -> None:
    scheduler.script = None


def until(gateway: RunningGateway, client: openai.OpenAI, made: Response, status: str) -> Response:
    gateway.until(lambda: client.responses.retrieve(made.id).status == status)
    return client.responses.retrieve(made.id)


def test_polled(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        assert (made.status, made.background, made.output) == ("queued", True, [])
        request_id = scheduler.next(Submit).request_id
        assert client.responses.retrieve(made.id).status == "queued"
        scheduler.send(Outputs((Output(request_id, "One"),)))
        until(gateway, client, made, "in_progress")
        with pytest.raises(openai.BadRequestError) as early:
            client.responses.create(model=MODEL, input="And?", previous_response_id=made.id)
        assert early.value.param == "previous_response_id"
        scheduler.send(last(request_id, " two."))
        done = until(gateway, client, made, "completed")
        assert done.output_text == "One two." and done.usage is not None
        assert client.responses.cancel(made.id) == done  # too late, and no error


def test_failure(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Rejected(request_id, ErrorCode.CONTEXT_LENGTH_EXCEEDED, "too long"))
        failed = until(gateway, client, made, "failed")
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("invalid_prompt", "Too long")


def test_cancelled(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        request_id = scheduler.next(Submit).request_id
        assert client.responses.cancel(made.id).status == "cancelled"
        assert scheduler.next(Abort).request_id == request_id
        assert client.responses.cancel(made.id).status == "cancelled"
        assert client.responses.retrieve(made.id).status == "cancelled"


def test_deleted(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        request_id = scheduler.next(Submit).request_id
        client.responses.delete(made.id)
        assert scheduler.next(Abort).request_id == request_id


def test_cancelled_by_another_gateway(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path
) -> None:
    with (
        ScriptedScheduler() as second,
        RunningGateway(second.endpoint, home) as other,
        gateway.openai() as client,
        other.openai() as elsewhere,
    ):
        made = client.responses.create(**ASK)
        request_id = scheduler.next(Submit).request_id
        assert elsewhere.responses.retrieve(made.id).status == "queued"
        assert elsewhere.responses.cancel(made.id).status == "cancelled"
        scheduler.send(Outputs((Output(request_id, "One"),)))
        assert scheduler.next(Abort).request_id == request_id
        assert client.responses.retrieve(made.id).status == "cancelled"


def test_only_what_is_in_the_background(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = lambda request: [last(request.request_id, "One")]
    with gateway.openai() as client:
        made = client.responses.create(model=MODEL, input="Hello!")
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.cancel(made.id)
    assert refused.value.param == "id"


def test_end_of_the_service(scheduler: ScriptedScheduler, home: Path) -> None:
    with RunningGateway(scheduler.endpoint, home, grace_seconds=0) as gateway:
        with gateway.openai() as client:
            made = client.responses.create(**ASK)
            scheduler.next(Submit)
        gateway.stop()
        gateway.join()
    store = ResponseStore(home / "responses.sqlite", limit=10, quota=10**6)
    try:
        found = store.get(made.id, "", time.time())
    finally:
        store.close()
    assert found is not None and found.status == "failed"
    assert found.error is not None and "shutting down" in found.error.message
