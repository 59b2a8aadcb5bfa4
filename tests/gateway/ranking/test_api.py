"""Ranking over HTTP, with workers' scores from a script."""

from __future__ import annotations

import json
import struct
from math import exp, log
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import (
    ErrorCode,
    Outputs,
    Rejected,
    Submit,
    decode_work,
)
from cupola.scheduler.protocol.outputs import Output, Scores, Usage
from cupola.scheduler.protocol.tasks import Decide, Embed, Option, QuestionKind, Text
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

DOCUMENTS = ["Bread is baked.", "Paris is in France.", "Rain falls."]


def scored(scheduler: ScriptedScheduler, *found: tuple[float, ...]) -> list[Decide]:
    """What workers are asked for from now on; their answers have these probabilities."""
    seen: list[Decide] = []

    def script(submit: Submit) -> Any:
        seen.append(decode_work(submit.work))
        for index, probabilities in enumerate(found):
            scores = Scores(tuple(map(log, probabilities)), 0.5)
            usage = Usage(40, 0) if index == len(found) - 1 else None
            yield Outputs((Output(submit.request_id, index=index, scores=scores, usage=usage),))

    scheduler.script = script
    return seen


def post(gateway: RunningGateway, path: str, body: Any, status: int = 200) -> Any:
    with gateway.http() as http:
        answer = http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "path", ["/v1/rerank", "/rerank", "/v1/reranking", "/v2/rerank", "/v1/rank"]
)
def test_the_best_document_comes_first(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str
) -> None:
    seen = scored(scheduler, (0.2, 0.8), (0.9, 0.1), (0.5, 0.5))
    body = {"query": "Where is Paris?", "documents": DOCUMENTS, "top_n": 2}
    made = post(gateway, path, body)
    assert [(each["index"], round(each["relevance_score"], 6)) for each in made["results"]] == [
        (1, 0.9),
        (2, 0.5),
    ]
    assert "document" not in made["results"][0]
    assert made["usage"] == {"prompt_tokens": 40, "total_tokens": 40}
    (task,) = seen
    assert task.prompt.messages[0]["content"] == "Query: Where is Paris?"
    assert {question.kind for question in task.questions} == {QuestionKind.PREDICATE}
    assert [
        document in question.instructions
        for document, question in zip(DOCUMENTS, task.questions, strict=True)
    ] == [True] * 3


def test_documents_may_be_objects_and_come_back(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scored(scheduler, (0.2, 0.8), (0.9, 0.1))
    documents = [{"text": "one", "id": 7}, "two"]
    body = {"query": "q", "documents": documents, "return_documents": True}
    results = post(gateway, "/v1/rerank", body)["results"]
    assert [each["document"] for each in results] == [{"text": "two"}, {"text": "one"}]


@pytest.mark.parametrize("names", [("query", "texts"), ("state", "candidates")])
def test_the_fields_have_other_names(
    gateway: RunningGateway, scheduler: ScriptedScheduler, names: tuple[str, str]
) -> None:
    seen = scored(scheduler, (0.2, 0.8), (0.9, 0.1))
    query, documents = names
    results = post(gateway, "/v1/rank", {query: "q", documents: ["one", "two"]})["results"]
    assert [each["index"] for each in results] == [1, 0]
    assert seen[0].prompt.messages[0]["content"] == "Query: q"


@pytest.mark.parametrize(("path", "best_first"), [("/v1/rerank", True), ("/v1/score", False)])
def test_a_cross_encoder_reads_pairs(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path, path: str, best_first: bool
) -> None:
    folder = Home(home).models / "local" / "tiny-ranker-generic-cpu-1"
    folder.mkdir(parents=True)
    model = {"type": "bert-ranker", "context_length": 512}
    (folder / "genai_config.json").write_text(json.dumps({"model": model}))
    (folder / "inference_model.json").write_text(json.dumps({"Name": "tiny-ranker-generic-cpu:1"}))
    (folder / "model.onnx").write_bytes(b"not read here")
    seen: list[Embed] = []

    def script(submit: Submit) -> Any:
        seen.append(decode_work(submit.work))
        for index, score in enumerate((-1000.0, 2.0)):
            usage = Usage(9, 0) if index else None
            data = struct.pack("<f", score)
            yield Outputs((Output(submit.request_id, index=index, embedding=data, usage=usage),))

    scheduler.script = script
    first, texts = ("text_1", "text_2") if path == "/v1/score" else ("query", "documents")
    made = post(gateway, path, {"model": "tiny-ranker", first: "q", texts: ["one", "two"]})
    assert seen == [Embed((Text("q", False),) * 2, seconds=("one", "two"))]
    found = [
        each.get("relevance_score", each.get("score"))
        for each in made.get("results") or made["data"]
    ]
    expected = [0.0, 1 / (1 + exp(-2))]
    assert found == pytest.approx(sorted(expected, reverse=best_first))


def test_pairs_have_scores(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = scored(scheduler, (0.2, 0.8), (0.9, 0.1))
    made = post(gateway, "/v1/score", {"text_1": "a", "text_2": ["b", "c"]})
    assert [round(each["score"], 6) for each in made["data"]] == [0.2, 0.9]
    assert post(gateway, "/v1/score", {"text_1": ["a", "x"], "text_2": ["b", "c"]})["data"]
    assert "Query: x\nDocument: c" in seen[1].questions[1].instructions


def test_texts_are_classified(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = scored(scheduler, (0.2, 0.8), (0.9, 0.1))
    body = {"input": ["good", "bad"], "choices": ["yes", "no"], "permutations": 2}
    data = post(gateway, "/v1/classify", body)["data"]
    assert [(each["label"], each["num_classes"]) for each in data] == [("no", 2), ("yes", 2)]
    assert data[0]["probs"] == pytest.approx([0.2, 0.8])
    assert seen[0].questions[0].options == (Option("yes"), Option("no"))
    assert seen[0].permutations == 2


BODIES: dict[str, dict[str, Any]] = {
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v1/score": {"text_1": "q", "text_2": ["a", "b"]},
    "/v1/classify": {"input": ["a", "b"], "choices": ["x", "y"]},
}


@pytest.mark.parametrize("path", BODIES)
def test_a_chat_model_is_asked_as_the_request_says(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str
) -> None:
    seen = scored(scheduler, (0.2, 0.8), (0.9, 0.1))
    for own in ({}, {"permutations": 2, "cache_salt": "mine", "ttl": 7}):
        post(gateway, path, {**BODIES[path], **own})
    assert [(task.permutations, task.cache_salt) for task in seen] == [(1, ""), (2, "mine")]
    assert [scheduler.next(Submit).ttl for _ in seen] == [None, 7]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("param", "value"), [("stream", True), ("tools", [{"type": "function"}])])
def test_what_would_have_to_be_generated_is_refused(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, param: str, value: Any
) -> None:
    error = post(gateway, path, {**BODIES[path], param: value}, 400)["error"]
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert scheduler.seen.empty()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"query": "q"}, "documents"),
        ("/v1/rerank", {"query": "q", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "q", "documents": ["a", ""]}, "documents[1]"),
        ("/v1/rerank", {"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "q", "documents": ["a"], "permutations": 0}, "permutations"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "text_1"),
        ("/v1/classify", {"input": "a"}, "choices"),
        ("/v1/classify", {"input": "a", "choices": ["x", "x"]}, "choices"),
    ],
)
def test_what_is_wrong_is_named(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, body: Any, param: str
) -> None:
    assert post(gateway, path, body, 400)["error"]["param"] == param


def test_a_pair_that_a_worker_refuses_is_named(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    def script(submit: Submit) -> Any:
        code = ErrorCode.CONTEXT_LENGTH_EXCEEDED
        yield Rejected(submit.request_id, code, "no", "questions[1]")

    scheduler.script = script
    body = {"text_1": "a", "text_2": ["b", "c"]}
    assert post(gateway, "/v1/score", body, 400)["error"]["param"] == "text_2[1]"
