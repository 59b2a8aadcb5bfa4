"""The doors: adding one takes its files and a line in each of these tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.routing import Route

from cupola.gateway.anthropic.api import AnthropicApi
from cupola.gateway.anthropic.errors import AnthropicErrors
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.dialect import Dialect
from cupola.gateway.ollama.api import OllamaApi
from cupola.gateway.ollama.frames import OllamaErrors
from cupola.gateway.ollama.models import OllamaModelsApi
from cupola.gateway.ollama.pull import OllamaPullApi


class Door(Protocol):
    def routes(self) -> list[Route]:
        """Its paths."""


DOORS: tuple[Callable[[ApiDependencies], Door], ...] = (
    AnthropicApi,
    OllamaApi,
    OllamaModelsApi,
    OllamaPullApi,
)
DIALECTS: tuple[Dialect, ...] = (AnthropicErrors(), OllamaErrors())


def door_routes(service: ApiDependencies) -> list[Route]:
    return [route for door in DOORS for route in door(service).routes()]
