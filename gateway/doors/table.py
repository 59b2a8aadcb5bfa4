"""The doors: adding one takes its files and a line in each of these tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.routing import Route

from cupola.gateway.doors.anthropic_api import AnthropicApi
from cupola.gateway.doors.anthropic_errors import AnthropicErrors
from cupola.gateway.doors.dialect import Dialect
from cupola.gateway.doors.ollama_api import OllamaApi
from cupola.gateway.doors.ollama_frames import OllamaErrors
from cupola.gateway.doors.ollama_models import OllamaModelsApi
from cupola.gateway.doors.ollama_pull import OllamaPullApi
from cupola.gateway.doors.service import Service


class Door(Protocol):
    def routes(self) -> list[Route]:
        """Its paths."""


DOORS: tuple[Callable[[Service], Door], ...] = (
    AnthropicApi,
    OllamaApi,
    OllamaModelsApi,
    OllamaPullApi,
)
DIALECTS: tuple[Dialect, ...] = (AnthropicErrors(), OllamaErrors())


def door_routes(service: Service) -> list[Route]:
    return [route for door in DOORS for route in door(service).routes()]
