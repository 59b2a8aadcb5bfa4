"""The table of the APIs. Adding one takes its folder and a line here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from starlette.applications import Starlette
from starlette.routing import Route

from cupola.gateway.anthropic.api import AnthropicApi
from cupola.gateway.anthropic.errors import AnthropicErrors
from cupola.gateway.decisions.api import DecisionsApi
from cupola.gateway.foundry.api import FoundryApi
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_formats import ErrorFormat, FormatTable
from cupola.gateway.ollama.api import OllamaApi
from cupola.gateway.ollama.errors import OllamaErrors
from cupola.gateway.ollama.port import PREFIX
from cupola.gateway.openai.api import OpenAIApi
from cupola.gateway.openai.audio.endpoints import AudioEndpoints
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.gateway.openai.responses.api import ResponsesApi
from cupola.gateway.operations.api import OperationsApi
from cupola.gateway.ranking.api import RankingApi
from cupola.gateway.tokens.api import TokensApi


class Api(Protocol):
    def routes(self) -> list[Route]:
        """Its paths, each with its description."""


@runtime_checkable
class Working(Protocol):
    """An API that works in the background."""

    def working(self) -> AbstractAsyncContextManager[None]:
        """While the application runs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``errors``: the format of errors for paths that begin with ``prefix``; None: OpenAI's."""

    api: Callable[[ApiDependencies], Api]
    prefix: str = ""
    errors: ErrorFormat | None = None


TABLE: tuple[Entry, ...] = (
    Entry(AudioEndpoints),  # before those that answer 501 below /v1/audio
    Entry(OpenAIApi),
    Entry(ResponsesApi),
    Entry(DecisionsApi),
    Entry(RankingApi),
    Entry(AnthropicApi, "/v1/messages", AnthropicErrors()),
    Entry(OllamaApi, PREFIX, OllamaErrors()),
    Entry(FoundryApi),
    Entry(TokensApi),
    Entry(OperationsApi),
)
ERROR_FORMATS = FormatTable(
    OpenAIErrors(), {entry.prefix: entry.errors for entry in TABLE if entry.errors is not None}
)


class Apis:
    """All APIs of the table, built from the same dependencies."""

    def __init__(self, dependencies: ApiDependencies) -> None:
        self._apis = [entry.api(dependencies) for entry in TABLE]

    def routes(self) -> list[Route]:
        return [route for api in self._apis for route in api.routes()]

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for api in self._apis:
                if isinstance(api, Working):
                    await stack.enter_async_context(api.working())
            yield
