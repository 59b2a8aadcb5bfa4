"""Whose request it is and how urgent it is, as the scheduler gets it; and what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cupola.scheduler.protocol.messages import ErrorCode, Rejected, Submit, Turn, encode
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, words

pytestmark = pytest.mark.slow

CHAT: dict[str, object] = {
    "model": "smollm2-135m",
    "messages": [{"role": "user", "content": "Hello"}],
}
COMPLETION: dict[str, object] = {"model": "smollm2-135m", "prompt": "Hello"}
RESPONSE: dict[str, object] = {"model": "smollm2-135m", "input": "Hello"}
MESSAGE = CHAT | {"max_tokens": 5}
OPENAI = [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)]
OPENAI += [("/v1/responses", RESPONSE)]
ALL = [*OPENAI, ("/v1/messages", MESSAGE), ("/api/chat", CHAT)]


@pytest.fixture(autouse=True)
def answered_with_words(shared_scheduler: ScriptedScheduler) -> None:
    shared_scheduler.script = words


class Bench:
    def __init__(self, gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
        self.gateway = gateway
        self.scheduler = scheduler

    def turn(self, path: str, body: dict[str, object], headers: dict[str, str]) -> Turn:
        with self.gateway.http() as http:
            assert http.post(path, json=body, headers=headers).status_code == 200
        submit = self.scheduler.next(Submit)
        for key in headers.values():
            assert len(key) < 8 or key.encode() not in encode(submit)
        return submit.turn


@pytest.fixture
def bench(shared_gateway: RunningGateway, shared_scheduler: ScriptedScheduler) -> Bench:
    return Bench(shared_gateway, shared_scheduler)


@pytest.mark.parametrize(("path", "body"), ALL)
def test_headers_say_it_everywhere(bench: Bench, path: str, body: dict[str, object]) -> None:
    turn = bench.turn(path, body, {"x-priority": "-2", "x-timeout": "2.5"})
    assert (turn.priority, turn.timeout) == (-2, 2.5)


def test_programs_of_this_machine_are_told_apart_by_their_names(bench: Bench) -> None:
    def client(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return bench.turn("/v1/completions", COMPLETION, named).client

    one, other = client(user_agent="One/1"), client(user_agent="Two/1")
    assert one == client(user_agent="One/1") != other
    assert one.startswith("127.0.0.1 ")
    assert client(user_agent="") == "127.0.0.1"
    far = client(user_agent="One/1", x_forwarded_for="10.1.1.1")
    assert far == client(user_agent="Two/1", x_forwarded_for="10.1.1.1") == "127.0.0.1"
    assert client(user_agent="One/1", authorization="Bearer k") == client(authorization="Bearer k")


@pytest.mark.parametrize(("path", "body"), OPENAI)
def test_a_body_says_it_with_more_authority(
    bench: Bench, path: str, body: dict[str, object]
) -> None:
    given = body | {"priority": 3, "timeout": 7}
    turn = bench.turn(path, given, {"x-priority": "-2", "x-timeout": "2"})
    assert (turn.priority, turn.timeout) == (3, 7)


def test_a_key_is_a_client_however_it_is_sent(bench: Bench) -> None:
    path = "/v1/chat/completions"
    one = bench.turn(path, CHAT, {"authorization": "Bearer first-secret"})
    again = bench.turn(path, CHAT, {"x-api-key": "first-secret"})
    other = bench.turn(path, CHAT, {"authorization": "Bearer second-secret"})
    assert one == again
    assert len({one.client, other.client, "127.0.0.1", ""}) == 4


@pytest.mark.parametrize(
    "headers",
    [{"x-priority": text} for text in ("", "high", "1.5", "9" * 10, "9" * 5000)]
    + [{"x-timeout": text} for text in ("", "0", "-1", "nan", "inf", "1e9", "soon")],
)
def test_headers_that_make_no_sense_are_refused(
    shared_gateway: RunningGateway, headers: dict[str, str]
) -> None:
    with shared_gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in headers


@pytest.mark.parametrize(
    ("code", "path", "status", "name"),
    [
        (ErrorCode.CLIENT_LIMIT, "/v1/chat/completions", 429, "too_many_waiting"),
        (ErrorCode.CLIENT_LIMIT, "/v1/messages", 429, "too_many_waiting"),
        (ErrorCode.QUEUE_FULL, "/v1/chat/completions", 503, "server_overloaded"),
        (ErrorCode.QUEUE_FULL, "/v1/messages", 529, "server_overloaded"),
    ],
)
def test_who_is_refused_is_told_when_to_come_again(
    shared_gateway: RunningGateway,
    shared_scheduler: ScriptedScheduler,
    code: ErrorCode,
    path: str,
    status: int,
    name: str,
) -> None:
    def full(message: Submit) -> Iterator[Rejected]:
        yield Rejected(message.request_id, code, "too many wait", retry_after=17)

    shared_scheduler.script = full
    with shared_gateway.http() as http:
        answer = http.post(path, json=MESSAGE)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "17")
    assert answer.json()["error"]["code"] == name
