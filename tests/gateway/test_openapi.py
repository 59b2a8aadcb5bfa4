"""The document at /openapi.json says what the routes are, and the page says the same."""

from __future__ import annotations

import ast
import html.parser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

import cupola.gateway
from cupola.gateway.http.error_codes import OWN, STATUS
from cupola.gateway.http.errors import TABLE
from cupola.gateway.http.parameter_docs import MEANINGS
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import Named
from cupola.gateway.openapi import api as openapi_api
from cupola.gateway.openapi.described import DescribedRoute
from cupola.gateway.openapi.document import document as openapi_document
from cupola.gateway.openapi.document import openapi_path
from cupola.gateway.openapi.types import words
from cupola.gateway.tokens.body import DetokenizeRequest, TokenizeChat, TokenizeText
from cupola.service.api_tables import (
    ANTHROPIC,
    DECISIONS,
    HONOURED,
    OLLAMA,
    OPENAI,
    OPTIONS,
    names,
    treatment,
)
from tests.gateway.running_gateway import HELLO, MODEL, RunningGateway

GOLDEN = Path(__file__).parent / "golden"
SOURCES = sorted(Path(cupola.gateway.__path__[0]).rglob("*.py"))


@pytest.fixture(scope="module")
def document(shared_gateway: RunningGateway) -> dict[str, Any]:
    with shared_gateway.http() as http:
        answer = http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        steps = part["$ref"].removeprefix("#/").split("/")
        part = document
        for step in steps:
            part = part[step]
    return part


def test_every_route_is_in_it_and_nothing_else(
    shared_gateway: RunningGateway, document: dict[str, Any]
) -> None:
    routes = shared_gateway.app.routes
    assert all(isinstance(route, DescribedRoute) for route in routes)
    served = {
        (openapi_path(route.path), method)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served


def test_every_operation_is_whole(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    sections = {tag["name"] for tag in document["tags"]}
    for path, _, operation in operations(document):
        assert operation["summary"] and set(operation["tags"]) <= sections
        in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        for status, response in operation["responses"].items():
            response = resolved(document, response)
            assert "x-request-id" in response["headers"]
            assert int(status) < 400 or response["content"]["application/json"]["schema"]
        assert "400" in operation["responses"] and "403" in operation["responses"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = re.findall(r'"(#/components/[^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        assert resolved(document, {"$ref": reference})


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_streams_have_their_own_type(document: dict[str, Any]) -> None:
    def kinds(path: str) -> set[str]:
        return set(document["paths"][path]["post"]["responses"]["200"]["content"])

    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
        assert kinds(path) == {"application/json", "text/event-stream"}
    for path in ("/api/chat", "/api/generate", "/api/pull"):
        assert kinds(path) == {"application/json", "application/x-ndjson"}


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/chat/completions", "ErrorAnswer"),
        ("/v1/messages", "AnthropicErrorAnswer"),
        ("/api/chat", "OllamaErrorAnswer"),
        ("/api/copy", "OllamaErrorAnswer"),
    ],
)
def test_errors_are_in_the_form_of_the_api(
    document: dict[str, Any], path: str, schema: str
) -> None:
    responses = document["paths"][path]["post"]["responses"]
    for status, response in responses.items():
        if int(status) >= 400:
            content = resolved(document, response)["content"]["application/json"]
            assert content["schema"] == {"$ref": f"#/components/schemas/{schema}"}
    assert ("529" in responses) == (path == "/v1/messages")


def test_descriptions_are_for_people(document: dict[str, Any]) -> None:
    texts = re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(document))
    assert len(texts) > len(document["paths"])
    for text in texts:
        assert text and "``" not in text and "\\n" not in text
        assert text.count("`") % 2 == 0


def test_what_becomes_of_a_parameter_is_told(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert properties["audio"]["deprecated"] and "Refused" in properties["audio"]["description"]
    assert "changes nothing" in properties["user"]["description"]
    assert properties["temperature"]["description"] == MEANINGS["temperature"]


def test_every_parameter_has_a_meaning() -> None:
    bodies: list[type[Endpoint]] = [
        *(
            body
            for table in (OPENAI, DECISIONS, ANTHROPIC, OLLAMA, OPTIONS)
            for body in table.values()
        ),
        *(Named, TokenizeText, TokenizeChat, DetokenizeRequest),
    ]
    honoured = {n for body in bodies for n in names(body) if treatment(body, n) == HONOURED}
    assert honoured == set(MEANINGS)


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("chat", "ChatCompletion"),
        ("chat-tools", "ChatCompletion"),
        ("chat-logprobs", "ChatCompletion"),
        ("completions", "TextCompletion"),
        ("models", "ModelList"),
        ("error-parameter", "ErrorAnswer"),
        ("error-endpoint", "ErrorAnswer"),
    ],
)
def test_golden_answers_are_as_described(document: dict[str, Any], file: str, schema: str) -> None:
    text = (GOLDEN / f"{file}.txt").read_text("utf-8")
    body = json.loads(text[text.index("{") :])
    described = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    jsonschema.Draft202012Validator(described).validate(body)


# -- codes -----------------------------------------------------------------------------------------


def raised() -> Iterator[tuple[str, int, str]]:
    """Every ``ApiError(status, code, ...)`` in the gateway that has both as they are."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError":
                values = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
                if len(values) == 2:
                    yield f"{path.name}:{node.lineno}", *values  # type: ignore[misc]


def test_every_code_has_one_status() -> None:
    found = list(raised())
    assert found
    assert [one for one in found if STATUS.get(one[2]) != one[1]] == []
    assert not OWN.keys() & {shape.code for shape in TABLE.values()}


# -- the page --------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Collects what a page fetches, and what its parts are called."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (tag == "link" and name == "href"):
                self.fetched.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")


@pytest.fixture(scope="module")
def page(shared_gateway: RunningGateway) -> str:
    with shared_gateway.http() as http:
        answer = http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def test_the_page_has_every_path(page: str, document: dict[str, Any]) -> None:
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    for param in names(OPENAI["/v1/chat/completions"]):
        assert f"<code>{param}</code>" in page


def test_the_page_fetches_nothing(page: str) -> None:
    assert Reader(page).fetched == []
    assert "@import" not in page and "url(" not in page and "fetch(" not in page


def test_its_links_lead_somewhere(page: str) -> None:
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids))
    assert "/openapi.json" in read.links and len(read.links) > 1
    for link in read.links:
        assert link == "/openapi.json" or link.removeprefix("#") in read.ids


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 5}, "string, at most 5"),
        ({"anyOf": [{"type": "number", "maximum": 5}, {"type": "null"}]}, "number to 5"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "integer from 0"),
        ({"type": "array", "items": {"enum": ["a", "<"]}},
         "list of (<code>&quot;a&quot;</code> or <code>&quot;&lt;&quot;</code>)"),
        ({"$ref": "#/components/schemas/A"}, '<a href="#schema-A">A</a>'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({"const": "x"}, "<code>&quot;x&quot;</code>"),
        ({"type": ["string", "null"]}, "string"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_schemas_in_words(schema: dict[str, Any], text: str) -> None:
    assert words(schema) == text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_both_are_made_once(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    made: list[object] = []

    def counting(*arguments: Any) -> dict[str, Any]:
        made.append(arguments)
        return openapi_document(*arguments)

    monkeypatch.setattr(openapi_api, "document", counting)
    with gateway.http() as http:
        first, second = http.get(path), http.get(path)
    assert first.status_code == 200
    assert first.content == second.content
    assert len(made) == 1


def test_an_answer_is_as_described(
    shared_gateway: RunningGateway, document: dict[str, Any]
) -> None:
    with shared_gateway.http() as http:
        body = http.post("/v1/chat/completions", json=HELLO | {"model": MODEL}).json()
    schema = {"$ref": "#/components/schemas/ChatCompletion", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


def test_the_page_of_the_api_has_every_endpoint(document: dict[str, Any]) -> None:
    """Those that are not here aside. Foundry Local's are named by the beginnings of their paths."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    table = page.partition("## Endpoints")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:[A-Z, `]+ )?(/[^\s`]*)`", table))
    beginnings = tuple(name.removesuffix("...") for name in named if name.endswith("/..."))
    here = [
        path
        for path, methods in document["paths"].items()
        if not any("Not here" in operation["tags"] for operation in methods.values())
    ]
    assert len(here) > 30
    assert [p for p in here if p not in named and not p.startswith(beginnings)] == []
