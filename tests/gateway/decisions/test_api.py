"""Decisions over HTTP, with workers' scores from a script."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import openai
import pytest

from cupola.scheduler.protocol.messages import ErrorCode, Outputs, Rejected, Submit, decode_work
from cupola.scheduler.protocol.outputs import Output, Scores, Usage
from cupola.scheduler.protocol.tasks import Decide, Option, Question, QuestionKind
from cupola.scheduler.state.records import Request
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

QUESTION = {"type": "predicate", "instructions": "It is late."}


def scored(scheduler: ScriptedScheduler, *found: tuple[float, ...]) -> list[Decide]:
    """What workers are asked for from now on. Their answers, the last one first."""
    seen: list[Decide] = []

    def script(submit: Submit) -> Any:
        seen.append(decode_work(submit.work))
        for index in reversed(range(len(found))):
            scores = Scores(tuple(map(log, found[index])), 0.5)
            usage = None if index else Usage(40, 0, 30)
            yield Outputs((Output(submit.request_id, index=index, scores=scores, usage=usage),))

    scheduler.script = script
    return seen


def refused(gateway: RunningGateway, path: str, body: Any) -> Any:
    with gateway.http() as http:
        answer = http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def client(gateway: RunningGateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def test_answers_of_openais_client(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = scored(scheduler, (0.8, 0.2), (0.1, 0.7, 0.2), (0.5, 0.25, 0.25))
    made = client(gateway).decisions.create(
        model=MODEL,
        input="The parcel is late.",
        questions=[
            {"type": "predicate", "instructions": "It is late.", "name": "late"},
            {
                "type": "choice",
                "instructions": [{"type": "input_text", "text": "What is it?"}],
                "choices": [
                    {"value": "true"},
                    {"value": True, "description": "yes"},
                    {"value": "other"},
                ],
            },
            {
                "type": "score",
                "instructions": "How bad?",
                "levels": [{"label": "good"}, {"label": "fair"}, {"label": "bad"}],
            },
        ],
    )
    predicate, choice, score = made.answers
    assert predicate.type == "predicate" and predicate.name == "late"
    assert predicate.probability == pytest.approx(0.8)
    assert choice.type == "choice" and choice.choice is True and choice.name is None
    assert [each.value for each in choice.probabilities] == ["true", True, "other"]
    assert choice.confidence == pytest.approx((3 * 0.7 - 1) / 2)
    assert score.type == "score" and score.score == pytest.approx(0.25 + 2 * 0.25)
    assert [(each.label, each.value) for each in score.probabilities] == [
        ("good", 0),
        ("fair", 1),
        ("bad", 2),
    ]
    assert (made.usage.input_tokens, made.usage.output_tokens) == (40, 0)
    assert made.usage.input_tokens_details.cached_tokens == 30
    (task,) = seen
    assert task.prompt.messages == ({"role": "user", "content": "The parcel is late."},)
    assert task.questions == (
        Question(QuestionKind.PREDICATE, "It is late."),
        Question(
            QuestionKind.CHOICE,
            "What is it?",
            (Option("true"), Option("true (boolean)", "yes"), Option("other")),
        ),
        Question(QuestionKind.SCORE, "How bad?", (Option("good"), Option("fair"), Option("bad"))),
    )


def test_a_conversation_with_calls_is_the_input(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    seen = scored(scheduler, (0.5, 0.5))
    conversation: Any = [
        {"role": "developer", "content": "Be strict."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Read this:"},
                {"type": "input_json", "data": {"a": [1]}},
            ],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "fine"},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "as text"},
        {
            "type": "custom_tool_call_output",
            "call_id": "d",
            "output": [{"type": "input_text", "text": "done"}],
        },
    ]
    client(gateway).decisions.create(
        model=MODEL,
        input=conversation,
        questions=[{"type": "predicate", "instructions": "It is fine."}],
    )
    roles = [message["role"] for message in seen[0].prompt.messages]
    texts = [message["content"] for message in seen[0].prompt.messages]
    assert roles[0] == "system"
    assert 'Read this:\n{"a":[1]}' in texts
    # As this model's template has them.
    assert '"x": 1' in texts[-4] and "fine" in texts[-3]
    assert "as text" in texts[-2] and "done" in texts[-1]


def test_the_client_chooses_actions_until_it_is_done(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    from openai.lib.decisions_tool_runner import DecisionsToolRunner

    steps = iter([(0.9, 0.1), (0.2, 0.8)])

    def script(submit: Submit) -> Any:
        scores = Scores(tuple(map(log, next(steps))), 0.5)
        yield Outputs((Output(submit.request_id, scores=scores, usage=Usage(9, 0)),))

    scheduler.script = script
    done: list[str] = []
    runner = DecisionsToolRunner(
        observe=lambda: f"{len(done)} parcels sent",
        candidates=lambda _: [
            {"id": "send", "description": "send one", "execute": lambda: done.append("sent")},
            {"id": "done", "description": "all are sent", "done": True},
        ],
    )
    result = runner.run(client(gateway), {"model": MODEL, "input": "Send one parcel."})
    assert result["status"] == "unverified"
    assert result["completed_candidate_ids"] == ["send"] and done == ["sent"]


def test_systemone(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = scored(scheduler, (0.8, 0.2), (0.1, 0.9), (0.5, 0.25, 0.25))
    questions = {
        "late": {
            "type": "noul",
            "instructions": "Is it late?",
            "criteria": {"true": "after noon", "false": "before noon"},
        },
        "kind": {
            "type": "choice",
            "instructions": "Which?",
            "criteria": {"parcel": "a box", "letter": None},
        },
        "mood": {"type": "score", "instructions": "How?", "criteria": ["low", "mid", "high"]},
    }
    body = {"model": MODEL, "state": {"hour": 13}, "questions": questions, "permutations": 2}
    with gateway.http() as http:
        answer = http.post("/v1/systemone", json=body)
    made = answer.json()
    assert answer.status_code == 200, made
    late, kind, mood = (made["answers"][name] for name in questions)
    assert late["noul"] == pytest.approx(0.8) and "confidence" not in late
    assert kind["choice"] == "letter" and kind["probabilities"]["letter"] == pytest.approx(0.9)
    assert mood["score"] == pytest.approx(0.75)
    assert mood["legend"] == {"0": "low", "1": "mid", "2": "high"}
    assert made["usage"] == {"input_tokens": 40, "output_tokens": 0}
    (task,) = seen
    assert task.permutations == 2
    assert task.prompt.messages[0]["content"] == '{"hour":13}'
    assert task.questions[0].instructions == (
        "Is it late?\nYes means: after noon\nNo means: before noon"
    )
    assert task.questions[1].options == (Option("parcel", "a box"), Option("letter"))
    assert task.questions[2].options == (
        Option("0", "low"),
        Option("1", "mid"),
        Option("2", "high"),
    )


def test_the_service_may_ask_in_several_orders(scheduler: ScriptedScheduler, home: Path) -> None:
    seen = scored(scheduler, (0.5, 0.5))
    with (
        RunningGateway(scheduler.endpoint, home, permutations=3) as gateway,
        gateway.http() as http,
    ):
        for own in ({}, {"permutations": None}, {"permutations": 2}):
            body = {"model": MODEL, "input": "a", "questions": [QUESTION], **own}
            assert http.post("/v1/decisions", json=body).status_code == 200
    assert [task.permutations for task in seen] == [3, 3, 2]


def test_each_order_counts_for_the_queue(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scored(scheduler, (0.5, 0.25, 0.25))
    question = {**choice("a", "b", "c"), "instructions": "x" * 4000}
    with gateway.http() as http:
        for orders in (1, 3):
            body = {"model": MODEL, "input": "a", "questions": [question], "permutations": orders}
            assert http.post("/v1/decisions", json=body).status_code == 200
    once, thrice = (Request(b"", scheduler.next(Submit), 0, 0.0, 60.0).size for _ in range(2))
    assert 1000 <= once < 1300 and 3000 <= thrice < 3300


def test_systemone_without_instructions(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    seen = scored(scheduler, (0.8, 0.2), (0.1, 0.9), (0.5, 0.5))
    questions = {
        "late": {"type": "noul", "instructions": None, "criteria": {"true": "It is late."}},
        "kind": {"type": "choice", "criteria": {"parcel": None, "letter": None}},
        "mood": {"type": "score", "criteria": ["low", "high"]},
    }
    with gateway.http() as http:
        body = {"model": MODEL, "state": "a", "questions": questions}
        assert http.post("/v1/systemone", json=body).status_code == 200
    late, kind, mood = (question.instructions for question in seen[0].questions)
    assert late.splitlines() == ["Yes or no?", "Yes means: It is late."]
    assert "option" in kind and "level" in mood


def choice(*values: Any) -> dict[str, Any]:
    return {
        "type": "choice",
        "instructions": "Which?",
        "choices": [{"value": value} for value in values],
    }


def levels(*labels: str) -> dict[str, Any]:
    return {
        "type": "score",
        "instructions": "How?",
        "levels": [{"label": label} for label in labels],
    }


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a", "questions": []}, "questions"),
        ({"input": "a", "questions": [QUESTION] * 401}, "questions"),
        ({"input": "a", "questions": [QUESTION, choice("a")]}, "questions[1].choices"),
        ({"input": "a", "questions": [choice(*map(str, range(256)))]}, "questions[0].choices"),
        ({"input": "a", "questions": [choice("a", "b", "a")]}, "questions[0].choices"),
        ({"input": "a", "questions": [choice("a", 1)]}, "questions[0].choices[1].value"),
        ({"input": "a", "questions": [choice("a", "")]}, "questions[0].choices[1].value"),
        ({"input": "a", "questions": [levels("low")]}, "questions[0].levels"),
        ({"input": "a", "questions": [levels("low", "low")]}, "questions[0].levels"),
        ({"input": "a", "questions": [levels(*map(str, range(256)))]}, "questions[0].levels"),
        (
            {"input": "a", "questions": [{"type": "predicate", "instructions": "  "}]},
            "questions[0].instructions",
        ),
        ({"input": "a", "questions": [{"type": "essay", "instructions": "a"}]}, "questions[0]"),
        ({"input": "a", "questions": [None]}, "questions[0]"),
        ({"input": "a", "questions": ["Is it late?"]}, "questions[0]"),
        ({"input": "a", "questions": [[]]}, "questions[0]"),
        ({"input": [], "questions": [QUESTION]}, "input"),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_image", "image_url": "data:image/png,"}],
                    }
                ],
                "questions": [QUESTION],
            },
            "input[0].content",
        ),
        (
            {
                "input": [{"role": "user", "content": [{"type": "input_json", "data": deep(40)}]}],
                "questions": [QUESTION],
            },
            "input[0].content",
        ),
        (
            {
                "input": [{"type": "function_call_output", "call_id": "x", "output": "a"}],
                "questions": [QUESTION],
            },
            "input[0].call_id",
        ),
        ({"input": "a", "questions": [QUESTION], "permutations": 0}, "permutations"),
        ({"questions": [QUESTION]}, "input"),
    ],
)
def test_what_is_wrong_is_named(
    gateway: RunningGateway, scheduler: ScriptedScheduler, body: Any, param: str
) -> None:
    assert refused(gateway, "/v1/decisions", body)["param"] == param


NOUL = {"type": "noul", "instructions": "Is it?"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/decisions", {"input": "a", "questions": [QUESTION]}),
        ("/v1/systemone", {"state": "a", "questions": {"q": NOUL}}),
    ],
)
def test_what_would_have_to_be_generated_is_refused(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, body: Any
) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for param, value in {"stream": True, "tools": tools}.items():
        error = refused(gateway, path, {**body, param: value})
        assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert scheduler.seen.empty()
    scored(scheduler, (0.5, 0.5))
    with gateway.http() as http:
        for given in ({"stream": False, "tools": []}, {"stream": None, "tools": None}):
            assert http.post(path, json={"model": MODEL, **body, **given}).status_code == 200


@pytest.mark.parametrize("param", ["instructions", "previous_response_id", "conversation"])
def test_a_part_of_the_conversation_is_not_left_out_in_silence(
    gateway: RunningGateway, scheduler: ScriptedScheduler, param: str
) -> None:
    error = refused(gateway, "/v1/decisions", {"input": "a", "questions": [QUESTION], param: "x"})
    assert error["param"] == param and "'input'" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"state": "a", "questions": {}}, "questions"),
        (
            {"state": "a", "questions": {"q": {**NOUL, "instructions": ""}}},
            "questions.q.instructions",
        ),
        (
            {"state": "a", "questions": {"q": {**NOUL, "type": "choice", "criteria": {}}}},
            "questions.q.criteria",
        ),
        (
            {"state": "a", "questions": {"q": {**NOUL, "type": "score", "criteria": ["a"] * 11}}},
            "questions.q.criteria",
        ),
        ({"state": "a", "questions": {"q": {**NOUL, "type": "score"}}}, "questions.q.criteria"),
        ({"state": "a", "questions": {"q": {"type": "noul"}}}, "questions.q.instructions"),
        (
            {"state": "a", "questions": {"q": {"type": "noul", "criteria": {"true": None}}}},
            "questions.q.instructions",
        ),
        ({"state": deep(40), "questions": {"q": NOUL}}, "state"),
        ({"questions": {"q": NOUL}}, "state"),
        ({"state": "a", "questions": {"q": None}}, "questions.q"),
        ({"state": "a", "questions": {"q": "Is it?"}}, "questions.q"),
    ],
)
def test_what_is_wrong_with_systemone_is_named(
    gateway: RunningGateway, scheduler: ScriptedScheduler, body: Any, param: str
) -> None:
    assert refused(gateway, "/v1/systemone", body)["param"] == param


@pytest.mark.parametrize("kind", [3, "reasoning", ["message"]])
def test_the_types_of_items_are_told(
    gateway: RunningGateway, scheduler: ScriptedScheduler, kind: Any
) -> None:
    item = {"type": kind, "role": "user", "content": "a"}
    error = refused(gateway, "/v1/decisions", {"input": [item], "questions": [QUESTION]})
    assert error["param"] == "input[0]"
    assert error["message"].startswith("The type of an item is 'message', 'function_call', ")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_a_state_of_what_is_no_number_is_refused(
    gateway: RunningGateway, scheduler: ScriptedScheduler, number: str
) -> None:
    state = f'{{"model": "{MODEL}", "state": [{number}], "questions": {json.dumps({"q": NOUL})}}}'
    with gateway.http() as http:
        answer = http.post("/v1/systemone", content=state)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "state"


@pytest.mark.parametrize(
    ("path", "body", "params"),
    [
        ("/v1/decisions", {"input": "a", "questions": [QUESTION]}, ("input", "questions[0]")),
        ("/v1/systemone", {"state": "a", "questions": {"q": NOUL}}, ("state", "questions.q")),
    ],
)
def test_a_workers_refusal_names_the_clients_parameter(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    path: str,
    body: Any,
    params: tuple[str, str],
) -> None:
    ours = iter(("prompt", "questions[0]"))

    def script(submit: Submit) -> Any:
        yield Rejected(submit.request_id, ErrorCode.CONTEXT_LENGTH_EXCEEDED, "no", next(ours))

    scheduler.script = script
    assert [refused(gateway, path, body)["param"] for _ in params] == list(params)


def test_a_worker_that_cannot_decide(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    error = refused(gateway, "/v1/decisions", {"input": "a", "questions": [QUESTION]})
    assert error["param"] == "model" and "makes no decisions" in error["message"]
