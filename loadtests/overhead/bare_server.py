"""The least that hypercorn and Starlette can do: reads JSON, answers with JSON or a stream.

    bare_server.py PORT

Its answers have the size and form of Cupola's, and the words of the last message, one a chunk.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import cycle, islice

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_ID = "chatcmpl-0123456789abcdef0123456789abcdef"
_CHUNK = (
    'data: {"id":"%s","object":"chat.completion.chunk","created":1,"model":"%s",'
    '"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":"%s "},'
    '"logprobs":null,"finish_reason":null}]}\n\n'
)


async def chat(request: Request) -> Response:
    body = await request.json()
    words = body["messages"][-1]["content"].split()
    wanted = list(islice(cycle(words), body["max_tokens"]))
    if body.get("stream"):
        return StreamingResponse(_stream(body["model"], wanted), media_type="text/event-stream")
    message = {"role": "assistant", "content": " ".join(wanted), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    details = {"cached_tokens": 0, "audio_tokens": 0}
    usage = {
        "prompt_tokens": len(words),
        "completion_tokens": len(wanted),
        "total_tokens": len(words) + len(wanted),
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
    }
    return JSONResponse({
        "id": _ID,
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    })  # fmt: skip


async def _stream(model: str, words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield _CHUNK % (_ID, model, word)
    yield "data: [DONE]\n\n"


def main() -> None:
    settings = Config()
    settings.bind = [f"127.0.0.1:{sys.argv[1]}"]
    settings.accesslog = None
    settings.keep_alive_max_requests = 1_000_000
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    asyncio.run(serve(app, settings))  # type: ignore[arg-type]  # hypercorn's type is its own


if __name__ == "__main__":
    main()
