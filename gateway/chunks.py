"""The frames of a streamed chat completion, as bytes. Pure.

The parts of a chunk that never change are encoded once for each stream: a token costs one small
JSON string and two concatenations.
"""

from __future__ import annotations

import msgspec

from cupola.gateway.schemas import CompletionUsage

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = msgspec.json.Encoder().encode


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


class ChunkEncoder:
    """The chunks of one stream: ``first``, any number of ``content``, ``last``, then ``usage``."""

    def __init__(
        self,
        completion_id: str,
        created: int,
        model: str,
        fingerprint: str,
        include_usage: bool = False,
    ) -> None:
        same = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._head = b"data: " + _encode(same)[:-1] + b',"choices":['
        # With include_usage every other chunk says "usage": null, as OpenAI's API does.
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._before_content = self._head + b'{"index":0,"delta":{"content":'
        self._after_content = b'},"logprobs":null,"finish_reason":null}' + self._tail

    def first(self) -> bytes:
        delta = b'{"index":0,"delta":{"role":"assistant","content":""},'
        return self._head + delta + b'"logprobs":null,"finish_reason":null}' + self._tail

    def content(self, text: str) -> bytes:
        return self._before_content + _encode(text) + self._after_content

    def last(self, finish_reason: str) -> bytes:
        choice = b'{"index":0,"delta":{},"logprobs":null,"finish_reason":' + _encode(finish_reason)
        return self._head + choice + b"}" + self._tail

    def usage(self, usage: CompletionUsage) -> bytes:
        return self._head + b'],"usage":' + _encode(usage) + b"}\n\n"
