"""A route together with its description. Pure data; ``document`` makes OpenAPI of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.gateway.access.admin import check_admin
from cupola.gateway.http.error_codes import WORK

JSON = "application/json"
TEXT = "text/plain"
HTML = "text/html"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

# What is passed on for another server's registered model, and to where below its base URL.
PROXIED = {
    f"/v1/{name}": name
    for name in (
        "chat/completions",
        "completions",
        "embeddings",
        "responses",
        "messages",
        "responses/input_tokens",
        "messages/count_tokens",
        "decisions",
        "systemone",
        "rerank",
        "reranking",
        "rank",
        "score",
        "classify",
    )
}


class Section(StrEnum):
    """The parts of the document, in its order."""

    OPENAI = "OpenAI"
    DECISIONS = "Decisions"
    ANTHROPIC = "Anthropic"
    OLLAMA = "Ollama"
    FOUNDRY = "Foundry Local"
    TOKENS = "Tokens"
    SERVICE = "Service"
    ABSENT = "Not here"


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the URL. ``kind``: a type, as those of answers."""

    kind: Any
    about: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does.

    Types of bodies are pydantic models. Types of answers are msgspec structs, or what msgspec
    encodes.
    """

    section: Section
    summary: str
    about: str = ""
    body: Any = None  # None: none is read
    takes: str = JSON  # the type of the body
    query: Mapping[str, Query] = field(default_factory=dict)
    path: Mapping[str, Query] = field(default_factory=dict)  # what the parts in braces are
    answer: Any = None  # None: an empty one
    media: str = JSON  # of the answer
    stream: str = ""  # of the answer when it is streamed; empty: it never is
    also: Mapping[int, Any] = field(default_factory=dict)  # answers with other statuses, by these
    errors: Sequence[str] = ()  # codes, besides those that a body and every request can have
    succeeds: bool = True
    admin: bool = False  # it changes the service or its models: see access.admin

    @property
    def asks_a_model(self) -> bool:
        """Whether a model works for it: it can fail in all the ways in which such work can."""
        return set(WORK) <= set(self.errors)

    @property
    def generates(self) -> bool:
        """Whether the answer has a limit on its new tokens, which the context may shorten."""
        return self.asks_a_model and bool(self.stream) and self.takes == JSON


class DescribedRoute(Route):
    """A route of Starlette's that knows its ``operation``."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        operation: Operation,
        methods: Collection[str] = ("GET",),
    ) -> None:
        super().__init__(path, endpoint, methods=list(methods))
        self.app = _answering(endpoint)
        self.operation = operation
        self.described_methods = tuple(methods)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.operation.admin and scope["method"] in self.described_methods:
            check_admin(scope)
        await super().handle(scope, receive, send)


def _answering(endpoint: Callable[[Request], Awaitable[ASGIApp]]) -> ASGIApp:
    """Starlette's would look for handlers of errors once more; the application's does so."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


def get(path: str, endpoint: Callable[..., Any], operation: Operation) -> DescribedRoute:
    return DescribedRoute(path, endpoint, operation)


def post(path: str, endpoint: Callable[..., Any], operation: Operation) -> DescribedRoute:
    return DescribedRoute(path, endpoint, operation, ["POST"])


def delete(path: str, endpoint: Callable[..., Any], operation: Operation) -> DescribedRoute:
    return DescribedRoute(path, endpoint, operation, ["DELETE"])


def working(routes: Sequence[BaseRoute]) -> list[DescribedRoute]:
    """Those whose requests are for a model's work: text, tokens or vectors."""
    described = [route for route in routes if isinstance(route, DescribedRoute)]
    return [
        route
        for route in described
        if route.described_methods == ("POST",) and route.operation.asks_a_model
    ]
