"""Endpoints of OpenAI's API that this service does not have. The error says what to use instead."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.openapi.absent import absent

_TEXT = "models here read and write text: /v1/chat/completions, /v1/completions, /v1/responses"
_INLINE = "send what the model is to read with each request"

# Path below /v1, what it is, and what to do instead.
REFUSED: tuple[tuple[str, str, str], ...] = (
    ("images", "images", _TEXT),
    ("videos", "videos", _TEXT),
    ("audio", "speech from text, and voices", "/v1/audio/transcriptions makes text of speech"),
    ("realtime", "realtime sessions", "stream with 'stream': true"),
    ("files", "files", _INLINE),
    ("uploads", "uploads", _INLINE),
    ("vector_stores", "vector stores", "/v1/embeddings makes the vectors"),
    ("batches", "batches", "send the requests together, they share one run of the model"),
    ("assistants", "assistants", "/v1/responses with 'instructions' and 'tools'"),
    ("threads", "threads", "/v1/responses with 'previous_response_id'"),
    ("conversations", "conversations", "/v1/responses with 'previous_response_id'"),
    ("containers", "containers", "run the tools in your app"),
    ("fine_tuning", "fine-tuning", "import a model that is tuned: cupola model import FILE.gguf"),
    ("moderations", "moderations", "ask a model in /v1/chat/completions"),
    ("evals", "evals", _TEXT),
    ("edits", "edits", "/v1/chat/completions"),
)


def refused_routes() -> list[Route]:
    routes: list[Route] = []
    for name, what, instead in REFUSED:
        refuse = _Refusal(what, instead)
        for path in (f"/v1/{name}", f"/v1/{name}/{{rest:path}}"):
            routes.append(absent(path, refuse.answer, what))
    return routes


class _Refusal:
    def __init__(self, what: str, instead: str) -> None:
        self._text = f"There is no such endpoint here ({what}). Instead: {instead}"

    async def answer(self, request: Request) -> Response:
        raise ApiError(501, "unsupported_endpoint", self._text, headers=NO_RETRY)
