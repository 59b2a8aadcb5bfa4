"""The endpoints of Ollama's API together."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.ollama.generation import GenerationEndpoints
from cupola.gateway.ollama.models import ModelEndpoints
from cupola.gateway.ollama.pull import OllamaPullApi


class OllamaApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._parts = (
            GenerationEndpoints(dependencies),
            ModelEndpoints(dependencies),
            OllamaPullApi(dependencies),
        )

    def routes(self) -> list[Route]:
        return [route for part in self._parts for route in part.routes()]
