"""Responses with ``background`` and ``stream``: their events can be read again from any one on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from cupola.gateway.openai.responses.store import ResponseStore
from cupola.scheduler.protocol.messages import Abort, ErrorCode, Outputs, Rejected, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, last

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!", "background": True, "stream": True}
WORDS = ("One", " two", " three", ".")


def numbered(events: Iterable[ResponseStreamEvent]) -> list[tuple[int, str]]:
    return [(event.sequence_number, event.to_json()) for event in events]


def resumed(client: openai.OpenAI, response_id: str, after: int | None) -> list[tuple[int, str]]:
    if after is None:
        return numbered(client.responses.retrieve(response_id, stream=True))
    return numbered(client.responses.retrieve(response_id, stream=True, starting_after=after))


def id_of(event: ResponseStreamEvent) -> str:
    assert event.type == "response.created"
    return event.response.id


def test_streamed_to_its_end(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        events = list(client.responses.create(**ASK))
        kinds = [event.type for event in events]
        assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
        assert kinds[-1] == "response.completed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
        found = client.responses.retrieve(id_of(events[0]))
    assert (found.status, found.output_text, found.background) == (
        "completed", "One two three.", True
    )  # fmt: skip


def test_cut_at_every_event_of_one_that_has_ended(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        events = list(client.responses.create(**ASK))
        response_id, whole = id_of(events[0]), numbered(events)
        assert resumed(client, response_id, None) == whole
        for after, _ in whole:
            assert resumed(client, response_id, after) == whole[after + 1 :]
        assert resumed(client, response_id, 1000) == []


def test_cut_at_every_event_of_one_that_runs(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    """A client leaves after each event, and comes back: it has each event once."""
    scheduler.script = None
    with gateway.openai() as client:
        stream = client.responses.create(**ASK)
        request_id = scheduler.next(Submit).request_id
        first = next(iter(stream))
        seen = numbered([first])
        stream.close()
        response_id = id_of(first)
        words = iter(WORDS)
        while True:
            # The next event may be there, or it comes with the next word.
            with client.responses.retrieve(
                response_id, stream=True, starting_after=seen[-1][0]
            ) as again:
                if len(seen) >= 2:
                    send_next(scheduler, request_id, words)
                event = next(iter(again))
            seen += numbered([event])
            if event.type == "response.completed":
                break
        assert [number for number, _ in seen] == list(range(len(seen)))
        assert resumed(client, response_id, None) == seen
        deltas = [json.loads(text)["delta"] for _, text in seen if "output_text.delta" in text]
    assert "".join(deltas) == "".join(WORDS)


def send_next(scheduler: ScriptedScheduler, request_id: str, words: Iterator[str]) -> None:
    if word := next(words, None):
        scheduler.send(Outputs((Output(request_id, word),)))
    else:
        usage = Usage(5, 4)
        scheduler.send(Outputs((Output(request_id, "", FinishReason.STOP, usage),)))


def test_several_read_at_once(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = None
    with gateway.openai() as client:
        stream = iter(client.responses.create(**ASK))
        request_id = scheduler.next(Submit).request_id
        first = next(stream)
        other = iter(client.responses.retrieve(id_of(first), stream=True))
        scheduler.send(Outputs((Output(request_id, "One"),)), last(request_id, " two."))
        assert numbered([first, *stream]) == numbered(other)


def test_read_through_another_gateway_while_it_runs(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path
) -> None:
    scheduler.script = None
    with (
        ScriptedScheduler() as second,
        RunningGateway(second.endpoint, home) as elsewhere,
        gateway.openai() as client,
        elsewhere.openai() as other,
    ):
        stream = iter(client.responses.create(**ASK))
        request_id = scheduler.next(Submit).request_id
        first = next(stream)
        again = iter(other.responses.retrieve(id_of(first), stream=True, starting_after=0))
        assert next(again).type == "response.queued"
        scheduler.send(Outputs((Output(request_id, "One"),)), last(request_id, " two."))
        whole = numbered([first, *stream])
        assert numbered(again) == whole[2:]


def test_failure(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = lambda request: [
        Outputs((Output(request.request_id, "One"),)),
        Rejected(request.request_id, ErrorCode.INTERNAL, "it is broken"),
    ]
    with gateway.openai() as client:
        events = list(client.responses.create(**ASK))
        assert events[-1].type == "response.failed"
        whole = numbered(events)
        for after, _ in whole:
            assert resumed(client, id_of(events[0]), after) == whole[after + 1 :]


def test_cancelled(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    """Its stream ends with what there was. All of that can be read again."""
    scheduler.script = None
    with gateway.openai() as client:
        stream = iter(client.responses.create(**ASK))
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Outputs((Output(request_id, "One"),)))
        events = [next(stream) for _ in range(6)]
        assert events[-1].type == "response.output_text.delta"
        response_id = id_of(events[0])
        assert client.responses.cancel(response_id).status == "cancelled"
        assert list(stream) == []
        assert scheduler.next(Abort).request_id == request_id
        assert resumed(client, response_id, None) == numbered(events)
        assert resumed(client, response_id, 5) == []


@pytest.mark.parametrize("after", range(-1, 5))
def test_the_process_that_made_it_has_died(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path, after: int
) -> None:
    """The stream of another process ends with an event that says so, behind all others."""
    scheduler.script = None
    with gateway.openai() as client:
        stream = iter(client.responses.create(**ASK))
        response_id = id_of(next(stream))
        next(stream)
        store = ResponseStore(home / "responses.sqlite", limit=10, quota=10**6)
        try:  # as if nobody had renewed it for a while
            assert store.renew(response_id, time.time() - 3600)
        finally:
            store.close()
        with (
            ScriptedScheduler() as second,
            RunningGateway(second.endpoint, home) as elsewhere,
            elsewhere.openai() as other,
        ):
            *kept, end = other.responses.retrieve(response_id, stream=True, starting_after=after)
        assert end.type == "response.failed"
        assert [event.sequence_number for event in kept] == [n for n in (0, 1) if n > after]
        assert end.sequence_number == max(2, after + 1)
        client.responses.delete(response_id)


def test_deleted_with_its_events(gateway: RunningGateway, home: Path) -> None:
    with gateway.openai() as client:
        response_id = id_of(next(iter(list(client.responses.create(**ASK)))))
        client.responses.delete(response_id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response_id, stream=True)
    store = ResponseStore(home / "responses.sqlite", limit=10, quota=10**6)
    try:
        assert store.events(response_id, -1) is None
    finally:
        store.close()


def test_the_wire(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/responses", json=ASK)
        head, *_ = answer.text.split("\n\n")
        response_id = json.loads(head.partition("data: ")[2])["response"]["id"]
        again = http.get(f"/v1/responses/{response_id}?stream=true")
    for one in (answer, again):
        assert one.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert one.headers["cache-control"] == "no-cache"
        assert one.text.endswith("data: [DONE]\n\n")
    assert again.text == answer.text


@pytest.mark.parametrize("fields", [{"background": False}, {"stream": False}], ids=str)
def test_only_what_was_streamed_in_the_background(
    gateway: RunningGateway, fields: dict[str, Any]
) -> None:
    with gateway.openai() as client, gateway.http() as http:
        made = client.responses.create(**ASK | fields)
        response_id = id_of([*made][0]) if isinstance(made, openai.Stream) else made.id  # noqa: RUF015
        gateway.until(lambda: client.responses.retrieve(response_id).status == "completed")
        answer = http.get(f"/v1/responses/{response_id}?stream=true")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("starting_after=1", "starting_after"),
        ("stream=false&starting_after=1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("stream=maybe", "stream"),
    ],
)
def test_wrong_queries(gateway: RunningGateway, query: str, param: str) -> None:
    with gateway.openai() as client, gateway.http() as http:
        response_id = id_of(next(iter(list(client.responses.create(**ASK)))))
        answer: httpx2.Response = http.get(f"/v1/responses/{response_id}?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
