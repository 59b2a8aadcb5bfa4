"""The tables of ``docs/api.md``: parameters of every endpoint, and errors. Made from the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.gateway.decisions.body import DecisionsRequest
from cupola.gateway.decisions.systemone_body import SystemOneRequest
from cupola.gateway.http.error_codes import OWN
from cupola.gateway.http.errors import TABLE
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import (
    OllamaChat,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
)
from cupola.gateway.ollama.options import OllamaOptions
from cupola.gateway.openai.audio.body import TranscriptionForm, TranslationForm
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.body.embeddings import EmbeddingsRequest
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.ranking.body import ClassifyRequest, RerankRequest, ScoreRequest
from cupola.service.page_tables import table

Columns = Mapping[str, type[Endpoint]]
# The bodies of requests, by the column that they have in a table.
OPENAI: Columns = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/embeddings": EmbeddingsRequest,
    "/v1/audio/transcriptions": TranscriptionForm,
    "/v1/audio/translations": TranslationForm,
}
ANTHROPIC: Columns = {
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountRequest,
}
OLLAMA: Columns = {
    "/api/chat": OllamaChat,
    "/api/generate": OllamaGenerate,
    "/api/embed": OllamaEmbed,
    "/api/embeddings": OllamaEmbeddings,
}
DECISIONS: Columns = {
    "/v1/decisions": DecisionsRequest,
    "/v1/systemone": SystemOneRequest,
    "/v1/rerank": RerankRequest,
    "/v1/score": ScoreRequest,
    "/v1/classify": ClassifyRequest,
}
OPTIONS: Columns = {"`options` of `/api/chat` and `/api/generate`": OllamaOptions}
HONOURED, LABEL, UNKNOWN = "yes", "label", ""


def treatment(body: type[Endpoint], param: str) -> str:
    """What an endpoint does with a parameter."""
    refused = {known: hint for known, _, hint in body.refused}
    if param not in names(body):
        return UNKNOWN
    if param in refused:
        return f"refused: {refused[param]}"
    return LABEL if param in body.labels else HONOURED


def names(body: type[Endpoint]) -> list[str]:
    return [field.alias or name for name, field in body.model_fields.items()]


def parameter_table(columns: Columns) -> str:
    every = sorted({name for body in columns.values() for name in names(body)})
    bodies = columns.values()
    rows = [[f"`{name}`", *(treatment(body, name) for body in bodies)] for name in every]
    heads = [head if "`" in head else f"`{head}`" for head in columns]
    return table(["parameter", *heads], rows)


def error_table() -> str:
    rows = []
    for code, shape in TABLE.items():
        again = " ".join(f"`{name}: {value}`" for name, value in (shape.headers or {}).items())
        rows.append([code.value, str(shape.status), shape.kind, f"`{shape.code}`", again])
    return table(["what failed", "status", "type", "code", "headers"], rows)


def code_table() -> str:
    rows = [[str(own.status), f"`{code}`", own.meaning] for code, own in OWN.items()]
    return table(["status", "code", "what it means"], rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "parameters": lambda: parameter_table(OPENAI),
    "parameters of decisions": lambda: parameter_table(DECISIONS),
    "parameters of Anthropic's API": lambda: parameter_table(ANTHROPIC),
    "parameters of Ollama's API": lambda: parameter_table(OLLAMA),
    "options of Ollama's API": lambda: parameter_table(OPTIONS),
    "errors": error_table,
    "codes": code_table,
}
