"""The endpoints of OpenAI's API together. The Responses API has a folder of its own."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.openai.chat import ChatEndpoint
from cupola.gateway.openai.completions import CompletionsEndpoint
from cupola.gateway.openai.embeddings import EmbeddingsEndpoint
from cupola.gateway.openai.models import ModelEndpoints
from cupola.gateway.openai.refused import refused_routes


class OpenAIApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._parts = (
            ChatEndpoint(dependencies),
            CompletionsEndpoint(dependencies),
            EmbeddingsEndpoint(dependencies),
            ModelEndpoints(dependencies),
        )

    def routes(self) -> list[Route]:
        return [*(route for part in self._parts for route in part.routes()), *refused_routes()]
