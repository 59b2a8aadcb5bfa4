"""What is asked: the same for the same seed, of the lengths that are published."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest

from cupola.loadtests.load import recorded_agent
from cupola.loadtests.load.workloads import (
    CHAT,
    WORKLOADS,
    Conversation,
    Lengths,
    Workload,
    passage,
    recorded_agents,
    story,
)

CALLS: list[dict[str, Any]] = [
    {"id": name, "type": "function", "function": {"name": "read_page", "arguments": "{}"}}
    for name in ("a", "b")
]


@pytest.fixture(
    params=[
        *WORKLOADS.values(),
        story(64, "new"),
        story(64, None, 20),
        story(64, copy=True),
        recorded_agents(64),
    ]
)
def workload(request: pytest.FixtureRequest) -> Workload:
    found = request.param
    assert isinstance(found, Workload)
    return found


def test_a_seed_gives_the_same_requests_and_another_one_others(workload: Workload) -> None:
    first, again, other = (
        [json.dumps(workload.body("m", chance)) for _ in range(5)]
        for chance in (Random(1), Random(1), Random(2))
    )
    assert first == again
    assert not set(first) & set(other)


def test_every_chat_streams_and_is_limited(workload: Workload) -> None:
    body = workload.body("m", Random(1))
    assert body["model"] == "m"
    if workload.path == CHAT:
        assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
        assert 1 <= body["max_tokens"] <= workload.answer.most
        # Other servers than Cupola may not know it.
        assert ("ignore_eos" in body) == workload.exact


def test_lengths_have_their_published_centres() -> None:
    chance = Random(1)
    mean, median = Lengths.around_mean(214.5, most=10**6), Lengths(1020, most=10**6)
    assert statistics.mean(mean.draw(chance) for _ in range(50_000)) == pytest.approx(
        214.5, rel=0.03
    )
    assert statistics.median(median.draw(chance) for _ in range(50_000)) == pytest.approx(
        1020, rel=0.03
    )
    many = np.random.default_rng(1)
    assert mean.draws(many, 50_000).mean() == pytest.approx(214.5, rel=0.03)
    assert set(Lengths(100, most=150).draws(many, 99)) <= set(range(1, 151))
    assert Lengths.always(7).draws(many, 3).tolist() == [7, 7, 7]
    assert {Lengths.always(7).draw(chance) for _ in range(9)} == {7}
    assert max(Lengths(100, most=150).draw(chance) for _ in range(99)) == 150


def test_a_passage_has_its_length_even_if_it_is_longer_than_the_book() -> None:
    assert [len(passage(Random(n), n).split()) for n in (1, 50, 5000)] == [1, 50, 5000]


def test_a_shared_prefix_is_new_in_every_round_or_known() -> None:
    def systems(kind: str) -> set[str]:
        bodies = (story(64, kind).body("m", Random(n), n % 2) for n in range(6))
        return {body["messages"][0]["content"] for body in bodies}

    assert (len(systems("new")), len(systems("known"))) == (2, 1)


def test_a_conversation_grows_by_answers_and_results_of_tools() -> None:
    agent = WORKLOADS["agent"]
    conversation = Conversation(agent, "m", Random(1))
    sizes = []
    for calls in ([], CALLS, [], []):
        assert not conversation.over
        sizes.append(len(conversation.body()["messages"]))
        conversation.answered("Well.", calls)
    assert conversation.over
    assert sizes == [2, 4, 7, 9]
    roles = [message["role"] for message in conversation.body()["messages"]]
    assert roles[4:7] == ["assistant", "tool", "tool"]
    results = conversation.body()["messages"][5:7]
    assert [result["tool_call_id"] for result in results] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "reason", "wrong"),
    [('{"a": 1}', "stop", False), ('{"a": ', "stop", True), ('{"a": ', "length", False)],
)
def test_a_whole_answer_to_a_schema_must_be_json(text: str, reason: str, wrong: bool) -> None:
    assert bool(WORKLOADS["structured"].fault(text, reason)) == wrong
    assert replace(WORKLOADS["structured"], schema=None).fault(text, reason) is None


def test_recorded_agents_go_on_as_written_whatever_the_server_answers() -> None:
    """All servers read the same, and each turn's prompt begins with the one before."""
    sessions = []
    for answer in ("nonsense", '{"tool": "read_file"}'):
        conversation = Conversation(recorded_agents(64), "m", Random(1))
        prompts = []
        while not conversation.over:
            prompts.append(conversation.body()["messages"])
            conversation.answered(answer, [])
        sessions.append(prompts)
    first, second = sessions
    assert first == second
    assert len(first) == 20
    assert all(later[: len(prompt)] == prompt for prompt, later in pairwise(first))
    calls = [json.loads(message["content"])["tool"] for message in first[-1][2::2]]
    assert calls == (["read_file", "edit_file", "run_tests", "search"] * 5)[:19]


def test_what_a_recorded_agent_edits_stands_in_what_it_read() -> None:
    _, turns = recorded_agent.session(Random(3), 20)
    for read, edit in zip(turns[::4], turns[1::4], strict=True):
        lines = [line[5:] for line in read.result.splitlines()]
        old = json.loads(edit.call)["arguments"]["old"].splitlines()
        assert any(lines[at : at + len(old)] == old for at in range(len(lines)))
