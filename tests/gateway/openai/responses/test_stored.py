"""Stored responses: fetched, continued, listed, deleted; and the store's bounds."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from cupola.gateway.openai.responses.answers import (
    OutputMessage,
    ResponseObject,
    ResponseText,
    Status,
)
from cupola.gateway.openai.responses.store import LOST_AFTER, MAX_AGE, ResponseStore
from cupola.scheduler.protocol.messages import Submit
from tests.gateway.running_gateway import MODEL, RunningGateway, read_all
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!"}


# -- over the wire ---------------------------------------------------------------------------------


def test_fetched_and_deleted(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        assert client.responses.retrieve(made.id) == made
        *_, end = client.responses.create(**ASK, stream=True)
        assert end.type == "response.completed"
        assert client.responses.retrieve(end.response.id) == end.response
        client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError) as gone:
            client.responses.retrieve(made.id)
    assert (gone.value.code, gone.value.param) == ("response_not_found", "id")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_x"),
        ("DELETE", "/v1/responses/resp_x"),
        ("GET", "/v1/responses/resp_x/input_items"),
        ("POST", "/v1/responses/resp_x/cancel"),
    ],
)
@pytest.mark.parametrize("kept", [1000, 0])
def test_not_found(
    scheduler: ScriptedScheduler, home: Path, method: str, path: str, kept: int
) -> None:
    with (
        RunningGateway(scheduler.endpoint, home, stored_responses=kept) as gateway,
        gateway.http() as http,
    ):
        answer = http.request(method, path)
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["code"], error["param"]) == ("response_not_found", "id")
    assert ("stored_responses" in error["message"]) == (kept == 0)


def test_not_stored(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK, store=False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError) as gone:
            client.responses.create(**ASK, previous_response_id=made.id)
    assert gone.value.code == "previous_response_not_found"
    assert gone.value.param == "previous_response_id"


def test_storing_is_off(scheduler: ScriptedScheduler, home: Path) -> None:
    with (
        RunningGateway(scheduler.endpoint, home, stored_responses=0) as gateway,
        gateway.openai() as client,
    ):
        assert client.responses.create(**ASK).to_dict()["store"] is False
        for param in ("store", "background"):
            with pytest.raises(openai.BadRequestError) as refused:
                client.responses.create(**(ASK | {param: True}))
            assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")
        with pytest.raises(openai.NotFoundError):
            client.responses.create(**ASK, previous_response_id="resp_x")
        with gateway.http() as http:
            assert http.get("/v1/responses").json()["data"] == []
    assert not (home / "responses.sqlite").exists()


def test_conversation_goes_on(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        first = client.responses.create(**ASK, instructions="Be brief.")
        second = client.responses.create(
            model=MODEL, input=[{"role": "user", "content": "And?"}], previous_response_id=first.id
        )
        third = client.responses.create(
            model=MODEL, input="More.", previous_response_id=second.id, store=False
        )
    assert third.previous_response_id == second.id
    for _ in range(2):
        scheduler.next(Submit)
    texts = [(m["role"], m["content"]) for m in work_of(scheduler.next(Submit)).prompt.messages]
    answer = ("assistant", "One two three.")
    assert texts == [("user", "Hello!"), answer, ("user", "And?"), answer, ("user", "More.")]
    with gateway.openai() as client:
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError, match="resend the full conversation"):
            client.responses.create(**ASK, previous_response_id=second.id)


def test_input_items(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        texts = ["a", "b", "c"]
        made = client.responses.create(
            model=MODEL, input=[{"role": "user", "content": text} for text in texts]
        )
        page = client.responses.input_items.list(made.id, limit=2, order="asc")
        assert page.has_more
        assert [item.content[0].text for item in page.data] == ["a", "b"]  # type: ignore[union-attr,index]
        every = [item.content[0].text for item in client.responses.input_items.list(made.id)]  # type: ignore[union-attr,index]
        assert every == ["c", "b", "a"]
        with pytest.raises(openai.NotFoundError):
            client.responses.input_items.list(made.id, after="msg_x")


def test_list(gateway: RunningGateway) -> None:
    with gateway.openai() as client, gateway.http() as http:
        made = [client.responses.create(**ASK).id for _ in range(3)]
        page = http.get("/v1/responses", params={"limit": 2}).json()
        assert page["object"] == "list" and page["has_more"]
        assert [one["id"] for one in page["data"]] == [made[2], made[1]]
        assert (page["first_id"], page["last_id"]) == (made[2], made[1])
        rest = http.get("/v1/responses", params={"after": page["last_id"]}).json()
        assert [one["id"] for one in rest["data"]] == [made[0]] and not rest["has_more"]
        oldest = http.get("/v1/responses", params={"order": "asc"}).json()
        assert [one["id"] for one in oldest["data"]] == made
        for params in ({"limit": "0"}, {"limit": "x"}, {"order": "up"}, {"ordr": "asc"}):
            refused = http.get("/v1/responses", params=params)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] in params
        assert http.get("/v1/responses", params={"after": "resp_x"}).status_code == 404


def test_queries_of_one_response(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        include: Any = ["message.output_text.logprobs"]
        assert client.responses.retrieve(made.id, include=include).id == made.id
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.retrieve(made.id, stream=True)
        assert refused.value.param == "stream"


@pytest.mark.parametrize("name", ["compact"])
def test_what_is_not_here(gateway: RunningGateway, name: str) -> None:
    with gateway.http() as http:
        answer = http.post(f"/v1/responses/{name}", json={})
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert error["code"] == "unsupported_endpoint" and "Instead:" in error["message"]


def test_a_broken_store_loses_no_answer(gateway: RunningGateway, home: Path) -> None:
    (home / "responses.sqlite").mkdir()
    with gateway.openai() as client:
        made = client.responses.create(**ASK)
        assert made.output_text == "One two three."
        with pytest.raises(openai.InternalServerError) as failed:
            client.responses.retrieve(made.id)
    assert (failed.value.status_code, failed.value.code) == (503, "store_unavailable")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_not_stored_says_so(
    gateway: RunningGateway, home: Path, stream: bool
) -> None:
    (home / "responses.sqlite").mkdir()
    body = ASK | {"stream": stream}
    with gateway.post(body, "/v1/responses") as connection:
        answer = read_all(connection)
    if stream:
        last = json.loads(answer.split(b"data: ")[-2].partition(b"\n")[0])
        assert last["type"] == "response.completed"
        told = last["response"]
    else:
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["store"] is False
    assert told["output_text"] == "One two three."


# -- the store -------------------------------------------------------------------------------------

NOW = 1_000_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "responses.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[ResponseStore]:
    store = ResponseStore(file, limit=3, quota=10**6)
    yield store
    store.close()


def record(name: str, status: Status = "completed", previous: str | None = None) -> ResponseObject:
    return ResponseObject(
        id=name,
        created_at=int(NOW),
        status=status,
        previous_response_id=previous,
        model="m",
        output=[OutputMessage(name)],
        store=True,
        text=ResponseText({"type": "text"}, "medium"),
    )


def ids(store: ResponseStore, now: float = NOW) -> list[str]:
    page = store.page(100, None, "", newest_first=False, now=now)
    assert page is not None
    return [one.id for one in page[0]]


def test_bounded_by_count(store: ResponseStore) -> None:
    for name in "abcde":
        store.add(record(name), [], "", NOW)
    assert ids(store) == ["c", "d", "e"]
    store.delete("d", "")
    store.add(record("f"), [], "", NOW)
    assert ids(store) == ["c", "e", "f"]


def test_bounded_by_age(store: ResponseStore) -> None:
    store.add(record("old"), [{}], "", NOW)
    later = NOW + MAX_AGE + 1
    assert store.get("old", "", NOW) is not None
    assert store.get("old", "", later) is None and store.input_of("old", "", later) is None
    assert store.conversation("old", "", later) is None and ids(store, later) == []
    store.add(record("new"), [], "", later)
    assert ids(store, NOW) == ["new"]  # and it is gone from the file


def test_shared_between_processes(store: ResponseStore, file: Path) -> None:
    other = ResponseStore(file, limit=3, quota=10**6)
    try:
        store.add(record("a", "queued"), [], "", NOW)
        assert other.update(record("a", "cancelled"), NOW)
        assert not store.renew("a", NOW)
        assert not store.update(record("a"), NOW)  # what is over stays over
        found = store.get("a", "", NOW)
        assert found is not None and found.status == "cancelled"
    finally:
        other.close()


def test_unfinished_without_a_sign_of_life(store: ResponseStore) -> None:
    store.add(record("a", "in_progress"), [], "", NOW)
    assert store.renew("a", NOW + LOST_AFTER)
    found = store.get("a", "", NOW + 2 * LOST_AFTER)
    assert found is not None and found.status == "in_progress"
    found = store.get("a", "", NOW + 2 * LOST_AFTER + 1)
    assert found is not None and found.status == "failed"
    assert found.error is not None and found.error.code == "server_error"


def test_conversation(store: ResponseStore) -> None:
    store.add(record("a"), [{"id": "in a"}], "", NOW)
    store.add(record("b", previous="a"), [{"id": "in b"}], "", NOW)
    items = store.conversation("b", "", NOW)
    assert items is not None and [item["id"] for item in items] == ["in a", "a", "in b", "b"]
    store.delete("a", "")
    assert store.conversation("b", "", NOW) is None


# A record as older versions wrote it: the keys in another order, by another encoder.
OLD = """{"id": "a", "object": "response", "created_at": 1, "completed_at": 2,
"status": "completed", "background": false, "error": null, "incomplete_details": null,
"model": "m", "output": [
{"id": "rs_1", "type": "reasoning", "summary": [], "content": [
{"type": "reasoning_text", "text": "Hm"}], "status": "completed"},
{"id": "msg_1", "type": "message", "role": "assistant", "content": [
{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": [
{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]}],
"status": "completed"},
{"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}",
"status": "completed"}],
"output_text": "Hi", "usage": {"input_tokens": 1,
"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 2,
"output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 3}, "frequency_penalty": 0,
"instructions": null, "max_output_tokens": null, "metadata": {"top_k": "5"},
"parallel_tool_calls": true, "presence_penalty": 0.0, "previous_response_id": null,
"prompt_cache_key": null, "safety_identifier": null, "temperature": 1,
"tool_choice": {"type": "function", "name": "f"}, "top_logprobs": 0, "top_p": null,
"truncation": "disabled", "user": null, "tools": [{"type": "function", "name": "f",
"description": null, "parameters": {}, "strict": false}],
"reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": true,
"text": {"format": {"type": "text"}, "verbosity": "medium"}}"""


def test_records_of_older_versions_can_be_read(store: ResponseStore, file: Path) -> None:
    store.add(record("a"), [], "", NOW)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE responses SET record = ?", (OLD,))
    connection.close()
    found = store.get("a", "", NOW)
    assert json.loads(msgspec.json.encode(found)) == json.loads(OLD)
    items = store.conversation("a", "", NOW)
    assert items is not None and [item["id"] for item in items] == ["rs_1", "msg_1", "fc_1"]


def test_events(store: ResponseStore) -> None:
    store.add(record("r", status="queued"), [], "", now=0)
    assert store.events("r", -1) is None
    frames = [b"%d" % number for number in range(7)]
    for first, end in ((0, 2), (2, 3), (3, 3), (3, 7)):
        assert store.add_events("r", first, frames[first:end], now=1)
    for after in range(-1, 9):
        assert store.events("r", after) == frames[after + 1 :]
    store.update(record("r", status="completed"), now=2)
    assert not store.add_events("r", 7, [b"late"], now=3)
    assert store.events("r", 6) == []
    store.delete("r", "")
    assert store.events("r", -1) is None


def test_events_go_with_their_response(store: ResponseStore) -> None:
    """Also when newer ones take its place."""
    store.add(record("old", status="queued"), [], "", now=0)
    store.add_events("old", 0, [b"x"], now=0)
    for number in range(3):
        store.add(record(f"new{number}"), [], "", now=1)
    assert store.get("old", "", now=1) is None
    assert store.events("old", -1) is None


def test_nobody_else_can_read(store: ResponseStore, file: Path) -> None:
    store.add(record("a"), [], "", NOW)
    for path in file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
