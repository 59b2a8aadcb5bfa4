"""A stored response belongs to the key that made it, and takes no more room than it may."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cupola.cache.system.api_keys import ApiKey, digest, new_key
from cupola.gateway.openai.responses.answers import OutputMessage, ResponseObject, ResponseText
from cupola.gateway.openai.responses.store import ResponseStore
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import Output
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!"}
ONE, TWO = new_key(), new_key()
MEGABYTE = 1024 * 1024


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module", params=["demanded", "tenants"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, ScriptedScheduler]]:
    home = furnished(tmp_path_factory.mktemp("owners"))
    keys = (ApiKey("one", digest(ONE)), ApiKey("two", digest(TWO)))
    how: dict[str, Any] = {"keys_demanded": True, "keys": keys}
    if request.param == "tenants":
        how = {"separate_tenants": True}
    with (
        ScriptedScheduler() as scheduler,
        RunningGateway(scheduler.endpoint, home, **how) as gateway,
    ):
        yield gateway, scheduler


def test_nobody_else_finds_it(shared: tuple[RunningGateway, ScriptedScheduler]) -> None:
    gateway, _ = shared
    with gateway.http() as http:
        made = http.post("/v1/responses", json=ASK, headers=bearer(ONE)).json()["id"]
        for method, path in (
            ("GET", made),
            ("GET", f"{made}?stream=true"),
            ("GET", f"{made}/input_items"),
            ("POST", f"{made}/cancel"),
            ("DELETE", made),
        ):
            answer = http.request(method, f"/v1/responses/{path}", headers=bearer(TWO))
            assert answer.status_code == 404, (method, path)
        listed = http.get("/v1/responses", headers=bearer(TWO)).json()["data"]
        after = http.get(f"/v1/responses?after={made}", headers=bearer(TWO))
        more = ASK | {"previous_response_id": made}
        followed = http.post("/v1/responses", json=more, headers=bearer(TWO))
        assert (listed, after.status_code, followed.status_code) == ([], 404, 404)
        assert http.post("/v1/responses", json=more, headers=bearer(ONE)).status_code == 200
        assert http.get(f"/v1/responses/{made}", headers=bearer(ONE)).status_code == 200
        assert http.delete(f"/v1/responses/{made}", headers=bearer(ONE)).status_code == 200


def test_nobody_else_reads_a_stream_that_is_under_way(
    shared: tuple[RunningGateway, ScriptedScheduler],
) -> None:
    gateway, scheduler = shared
    script, scheduler.script = scheduler.script, None
    background = ASK | {"background": True, "stream": True}
    with (
        gateway.http() as http,
        http.stream("POST", "/v1/responses", json=background, headers=bearer(ONE)) as stream,
    ):
        lines = stream.iter_lines()
        first = next(line for line in lines if '"resp_' in line)
        made = first.partition('"id":"')[2].partition('"')[0]
        while not isinstance(submit := scheduler.seen.get(), Submit):
            pass
        scheduler.send(Outputs((Output(submit.request_id, "secret"),)))
        address = f"/v1/responses/{made}?stream=true"
        assert http.get(address, headers=bearer(TWO)).status_code == 404
        cancelled = http.post(f"/v1/responses/{made}/cancel", headers=bearer(ONE))
        assert cancelled.status_code == 200
    scheduler.script = script


# -- room ------------------------------------------------------------------------------------------


def record(name: str, text: str = "") -> ResponseObject:
    return ResponseObject(
        id=name,
        created_at=1,
        status="completed",
        previous_response_id=None,
        model=text or "m",
        output=[OutputMessage(name)],
        store=True,
        text=ResponseText({"type": "text"}, "medium"),
    )


def stored(store: ResponseStore, owner: str) -> list[str]:
    page = store.page(100, None, owner, newest_first=False, now=1)
    assert page is not None
    return [one.id for one in page[0]]


def test_each_key_has_a_quota_of_bytes(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite", limit=100, quota=MEGABYTE, each=True)
    store.add(record("other"), [], "two", 1)
    for number in range(9):
        store.add(record(f"{number}", "x" * 300_000), [], "one", 1)
    assert stored(store, "one") == ["6", "7", "8"]
    assert stored(store, "two") == ["other"]
    store.add(record("huge", "x" * 2 * MEGABYTE), [], "one", 1)
    assert stored(store, "one") == []
    store.close()


def test_a_response_that_grows_counts_as_it_is(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite", limit=100, quota=MEGABYTE, each=True)
    for name in "ab":
        store.add(replace(record(name), status="in_progress"), [], "one", 1)
    assert store.update(record("b", "x" * 900_000), 1)
    assert stored(store, "one") == ["a", "b"]
    store.add(record("c", "x" * 200_000), [], "one", 1)
    assert stored(store, "one") == ["c"]
    store.close()


def test_owners_that_nobody_knows_share_one_quota(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite", limit=3, quota=MEGABYTE)
    for number in range(5):
        store.add(record(f"{number}"), [], f"key {number}", 1)
    assert [stored(store, f"key {number}") for number in range(5)] == [[], [], ["2"], ["3"], ["4"]]
    store.close()


@pytest.mark.slow
def test_the_file_shrinks(tmp_path: Path) -> None:
    file = tmp_path / "r.sqlite"
    store = ResponseStore(file, limit=100, quota=100 * MEGABYTE)
    for number in range(20):
        store.add(record(f"{number}", "x" * MEGABYTE), [], "", 1)
    store.close()
    assert file.stat().st_size > 20 * MEGABYTE
    store = ResponseStore(file, limit=1, quota=100 * MEGABYTE)
    store.add(record("last"), [], "", 1)
    store.close()
    assert file.stat().st_size < 2 * MEGABYTE


def test_a_file_of_an_earlier_version_gets_owners(tmp_path: Path) -> None:
    file = tmp_path / "r.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(
            "CREATE TABLE responses (number INTEGER PRIMARY KEY AUTOINCREMENT,"
            " id TEXT NOT NULL UNIQUE, previous TEXT, created REAL NOT NULL,"
            " renewed REAL NOT NULL, status TEXT NOT NULL, input TEXT NOT NULL,"
            " record TEXT NOT NULL)"
        )
    connection.close()
    store = ResponseStore(file, limit=10, quota=MEGABYTE)
    store.add(record("a"), [], "one", 1)
    assert (stored(store, "one"), stored(store, "")) == (["a"], [])
    store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()
