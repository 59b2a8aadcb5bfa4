"""The client of all scenarios: what it makes of each server, good or bad."""

from __future__ import annotations

import socket
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from typing import Any

import pytest

from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.server import Models, Unreachable, choose_models, loopback
from cupola.loadtests.users.http_client import HttpClient
from tests.loadtests.scripted_server import END, ScriptedServer, frame, good, piece, without_usage

CHAT = "/v1/chat/completions"
BODY = {"stream": True}


def endless(body: dict[str, Any]) -> list[str]:
    return [piece(f"{number} ") for number in range(100_000)]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, while the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def asked(server: ScriptedServer, **options: Any) -> Record:
    """The record of one stream."""
    records: list[Record] = []
    client = HttpClient(server.url, records.append)
    try:
        client.stream("chat", CHAT, BODY, **options)
    finally:
        client.close()
    (record,) = records
    return record


def test_a_good_answer() -> None:
    with ScriptedServer() as server:
        record = asked(server)
    assert (record.end, record.error, record.tokens) == (End.OK, None, 4)
    assert (record.counted, record.prompt_tokens, len(record.gaps)) == (True, 5, 2)
    assert record.ttft is not None and 0 < record.ttft <= record.e2e


def test_an_answer_without_usage_counts_and_is_marked() -> None:
    with ScriptedServer(without_usage) as server:
        record = asked(server)
    assert (record.end, record.tokens, record.counted) == (End.OK, 3, False)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"status": 404}, "status 404: not today"),
        ({"status": 503}, "status 503: not today"),
        ({"frames": lambda body: [piece("a")]}, "the stream ended before the answer did"),
        ({"frames": lambda body: ["data: {\n\n", END]}, "not a chunk of a chat completion"),
        ({"frames": lambda body: [frame({"error": {"message": "full"}})]}, "full"),
        ({"dies_after": 0}, "the connection broke"),
    ],
)
def test_each_fault_has_its_message(script: dict[str, Any], error: str) -> None:
    with ScriptedServer(**script) as server:
        record = asked(server)
    assert record.end is End.ERROR
    assert record.error is not None and error in record.error


def test_what_came_before_a_break_is_kept() -> None:
    with ScriptedServer(dies_after=0) as server:
        record = asked(server)
    assert (record.end, record.tokens, len(record.gaps)) == (End.ERROR, 4, 2)


def test_a_whole_answer_may_still_be_wrong() -> None:
    with ScriptedServer() as server:
        record = asked(server, fault=lambda text, reason: f"{reason}: {text[:8]}")
    assert (record.end, record.error) == (End.ERROR, 'stop: {"title"')


@pytest.mark.slow
def test_a_client_that_leaves_is_no_error() -> None:
    with ScriptedServer(endless) as server:
        record = asked(server, leave_after=7)
    assert (record.end, record.tokens, record.error) == (End.ABORTED, 4, None)


def test_latency_counts_from_the_intended_start() -> None:
    """Also in the wall time of the record: the request was to be sent a thousand seconds ago."""
    now = time.time()
    with ScriptedServer() as server:
        record = asked(server, began=time.perf_counter() - 1000)
    assert record.ttft is not None
    assert min(record.waited, record.ttft, record.e2e) >= 1000
    assert record.at == pytest.approx(now - 1000, abs=500)


def test_a_run_that_ends_within_a_request_keeps_it() -> None:
    def stop(body: dict[str, Any]) -> list[str]:
        return [piece("a"), piece("b"), END]

    class Ended(BaseException):
        """As greenlets are ended."""

    def ends(text: str, reason: str | None) -> str | None:
        raise Ended

    records: list[Record] = []
    with ScriptedServer(stop) as server:
        client = HttpClient(server.url, records.append)
        with pytest.raises(Ended):
            client.stream("chat", CHAT, BODY, fault=ends)
        client.close()
    assert [(record.end, record.tokens) for record in records] == [(End.INCOMPLETE, 2)]


def test_a_server_that_is_not_there(nobody: str) -> None:
    records: list[Record] = []
    client = HttpClient(nobody, records.append)
    with pytest.raises(Unreachable, match=r"cannot be reached\. Start the server"):
        client.stream("chat", CHAT, BODY)
    with pytest.raises(Unreachable):
        client.call("models", "GET", "/v1/models")
    with pytest.raises(Unreachable):
        client.models()
    client.close()
    assert [record.end for record in records] == [End.ERROR, End.ERROR]


def test_calls_and_models() -> None:
    records: list[Record] = []
    with ScriptedServer() as server:
        client = HttpClient(server.url, records.append, api_key="k")
        assert client.models() == ["all-minilm", "tiny"]
        assert client.call("embed", "POST", "/v1/embeddings", {"input": ["a"]})
        client.close()
        assert server.keys == {"Bearer k"}
    assert [(record.end, record.ttft) for record in records] == [(End.OK, None)]


def test_a_server_that_refuses_a_call() -> None:
    records: list[Record] = []
    with ScriptedServer(status=500) as server:
        client = HttpClient(server.url, records.append)
        assert not client.call("embed", "POST", "/v1/embeddings", {})
        client.close()
    assert [record.error for record in records] == ["status 500: not today"]


def test_a_chat_model_is_chosen_whatever_comes_first() -> None:
    listed = ["whisper-tiny.en-generic-cpu:1", "all-minilm-l6-v2-generic-cpu:1", "phi-4:1", "x:1"]
    assert choose_models(listed) == Models("phi-4:1", "all-minilm-l6-v2-generic-cpu:1")
    assert choose_models(listed[:2]).chat == ""


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:1/", "http://localhost:1"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        ("localhost:1/v1/", "http://localhost:1"),
    ],
)
def test_load_stays_on_this_machine(url: str, base: str) -> None:
    assert loopback(url) == base


@pytest.mark.parametrize("url", ["http://10.0.0.1", "example.com:5", "ftp://127.0.0.1", ""])
def test_load_never_leaves_this_machine(url: str) -> None:
    with pytest.raises(ArgumentTypeError, match="not on this machine"):
        loopback(url)


def test_a_slow_reader_reads_all() -> None:
    records: list[Record] = []
    with ScriptedServer(good) as server:
        client = HttpClient(server.url, records.append, slow=True)
        client.stream("slow", CHAT, BODY, pause=0.001)
        client.close()
    assert [(record.end, record.tokens) for record in records] == [(End.OK, 4)]
