"""The OpenAPI document of some routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from msgspec import Meta
from starlette.routing import BaseRoute

from cupola.gateway.http.error_codes import BODY, EVERYWHERE, QUERY, STATUS
from cupola.gateway.http.error_formats import FormatTable
from cupola.gateway.openapi.components import Components, Schema
from cupola.gateway.openapi.described import (
    JSON,
    PROXIED,
    DescribedRoute,
    Operation,
    Query,
    Section,
)

OPENAPI = "3.1.1"
ABOUT = (
    "Language models on this machine, for every app on it. Any key will do. Every answer has an "
    "`x-request-id`; a client's own `x-client-request-id` and `traceparent` are sent back."
)
SECTIONS = {
    Section.OPENAI: "OpenAI's API.",
    Section.DECISIONS: "Probabilities of answers to questions, and ranks of texts.",
    Section.ANTHROPIC: "Anthropic's API, to the same models.",
    Section.OLLAMA: "Ollama's API, to the same models.",
    Section.FOUNDRY: "The addresses of Foundry Local's generations.",
    Section.TOKENS: "Texts and tokens, as llama-server and vLLM have it.",
    Section.SERVICE: "The service itself.",
    Section.ABSENT: "Known addresses that are not here; the error says what there is instead.",
}
_REQUEST_ID: Schema = {
    "description": "The id under which the service's log has the request.",
    "required": True,
    "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
}
_MAX_TOKENS: Schema = {
    "description": "How many new tokens fit, where the request asks for more.",
    "schema": {"type": "integer", "minimum": 1},
}
_HEADERS: Schema = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
_OF_GENERATION: Schema = {"x-cupola-max-tokens": {"$ref": "#/components/headers/MaxTokens"}}
REST = Query(Annotated[str, Meta(min_length=1)], "what comes after it")
_CONVERTER = re.compile(r":[a-z]+}")
_PARTS = re.compile(r"{(\w+)}")


def document(routes: Sequence[BaseRoute], formats: FormatTable, version: str) -> dict[str, Any]:
    """``routes``: the document has those that are described. ``formats``: of errors."""
    described = [route for route in routes if isinstance(route, DescribedRoute)]
    return _Document(described, formats).content(version)


def openapi_path(path: str) -> str:
    """A path of Starlette's: ``/v1/models/{id:path}`` is ``/v1/models/{id}``."""
    return _CONVERTER.sub("}", path)


class _Document:
    def __init__(self, routes: Sequence[DescribedRoute], formats: FormatTable) -> None:
        self._routes = routes
        self._formats = formats
        self._components = Components(self._kinds())
        self._errors: dict[str, Schema] = {}  # answers that many routes have, by their names

    def content(self, version: str) -> dict[str, Any]:
        paths: dict[str, Any] = {}
        for route in self._routes:
            path = openapi_path(route.path)
            for method in route.described_methods:
                described = self._operation(route.operation, path, method)
                paths.setdefault(path, {}).setdefault(method.lower(), described)
        return {
            "openapi": OPENAPI,
            "info": {"title": "Cupola", "version": version, "description": ABOUT},
            "servers": [{"url": "/"}],
            "tags": [{"name": name, "description": text} for name, text in SECTIONS.items()],
            "paths": paths,
            "components": {
                "schemas": self._components.schemas,
                "responses": dict(sorted(self._errors.items())),
                "headers": {"RequestId": _REQUEST_ID, "MaxTokens": _MAX_TOKENS},
            },
        }

    def _kinds(self) -> Iterator[Any]:
        yield REST.kind
        yield from (form.answer for form in self._formats.all())
        for operation in (route.operation for route in self._routes):
            yield from _alternatives(operation.body)
            for parameters in (operation.query, operation.path):
                yield from (parameter.kind for parameter in parameters.values())
            yield from _alternatives(operation.answer)
            yield from operation.also.values()

    def _operation(self, operation: Operation, path: str, method: str) -> Schema:
        described: Schema = {
            "tags": [operation.section],
            "operationId": "_".join([method.lower(), *re.findall(r"\w+", path)]),
            "summary": operation.summary,
        }
        if operation.about:
            described["description"] = operation.about
        if parameters := self._parameters(operation, path):
            described["parameters"] = parameters
        if operation.body is not None:
            described["requestBody"] = {
                "required": True,
                "content": self._content(operation.body, operation.takes),
            }
        described["responses"] = self._answers(operation) | self._failures(operation, path, method)
        return described

    def _parameters(self, operation: Operation, path: str) -> list[Schema]:
        in_path: list[Schema] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": part.about,
                "schema": self._components.of(part.kind),
            }
            for name in _PARTS.findall(path)
            for part in [operation.path.get(name, REST)]
        ]
        in_query: list[Schema] = [
            {
                "name": name,
                "in": "query",
                "description": query.about,
                "schema": self._components.of(query.kind),
            }
            for name, query in operation.query.items()
        ]
        return in_path + in_query

    def _answers(self, operation: Operation) -> dict[str, Schema]:
        answers: dict[str, Schema] = {}
        if operation.succeeds:
            content = {}
            if operation.answer is not None:
                content = self._content(operation.answer, operation.media)
            headers = _HEADERS
            if operation.stream:
                content[operation.stream] = {}  # OpenAPI 3.1 has no words for a stream's pieces
                headers = _HEADERS | (_OF_GENERATION if operation.generates else {})
            good = {"description": "It worked.", "headers": headers}
            answers["200"] = good | ({"content": content} if content else {})
        for status, kind in operation.also.items():
            content = self._content(kind)
            described = {"description": "See above.", "headers": _HEADERS, "content": content}
            answers[str(status)] = described
        return answers

    def _failures(self, operation: Operation, path: str, method: str) -> dict[str, Schema]:
        form = self._formats.of(path)
        by_status: dict[int, list[str]] = {}
        for code in sorted(_codes(operation, path, method)):
            status = form.status(STATUS[code], code)
            by_status.setdefault(status, []).append(code)
        return {
            str(status): self._failure(form.answer, status, codes)
            for status, codes in sorted(by_status.items())
        }

    def _failure(self, kind: Any, status: int, codes: Sequence[str]) -> Schema:
        """A reference to the one answer of this kind with this text."""
        text = ", ".join(f"`{code}`" for code in codes)
        described = {"description": text, "headers": _HEADERS, "content": self._content(kind)}
        name = base = f"{kind.__name__}{status}"
        number = 1
        while self._errors.setdefault(name, described) != described:
            number += 1
            name = f"{base}.{number}"
        return {"$ref": f"#/components/responses/{name}"}

    def _content(self, kind: Any, media: str = JSON) -> Schema:
        schemas = [self._components.of(one) for one in _alternatives(kind)]
        return {media: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if kind is None:
        return ()
    return kind if isinstance(kind, tuple) else (kind,)


def _codes(operation: Operation, path: str, method: str) -> set[str]:
    codes = {*operation.errors, *EVERYWHERE}
    if operation.body is not None:
        codes |= set(BODY)
        if method == "POST" and path in PROXIED:
            codes |= {"provider_unreachable", "proxy_loop"}
    elif method != "GET":
        codes.add("request_too_large")  # a body that nobody wants is read as well
    return codes | set(QUERY if operation.query else ())
