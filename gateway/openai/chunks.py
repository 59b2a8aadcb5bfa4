"""The frames of a streamed chat completion, as bytes. Pure.

The parts of a chunk that never change are encoded once for each stream: a token costs one small
JSON string and two concatenations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cupola.gateway.openai.schemas.answers import ChoiceLogprobs, CompletionUsage

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = msgspec.json.Encoder().encode


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


class ChunkEncoder:
    """The chunks of one stream. For each answer (``index``): ``first``, any number of ``content``
    and ``delta``, ``last``; and at the end of all ``usage``."""

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
        self._before_content: dict[int, bytes] = {}
        self._after_content = b'},"logprobs":null,"finish_reason":null}' + self._tail

    def first(self, index: int = 0) -> bytes:
        return self.delta(index, {"role": "assistant", "content": ""})

    def content(self, text: str, index: int = 0) -> bytes:
        before = self._before_content.get(index)
        if before is None:
            before = self._head + b'{"index":%d,"delta":{"content":' % index
            self._before_content[index] = before
        return before + _encode(text) + self._after_content

    def delta(self, index: int, delta: Any, logprobs: ChoiceLogprobs | None = None) -> bytes:
        return self._chunk(index, delta, logprobs, None)

    def last(self, finish_reason: str, index: int = 0) -> bytes:
        return self._chunk(index, {}, None, finish_reason)

    def usage(self, usage: CompletionUsage) -> bytes:
        return self._head + b'],"usage":' + _encode(usage) + b"}\n\n"

    def _chunk(
        self, index: int, delta: Any, logprobs: ChoiceLogprobs | None, reason: str | None
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": reason,
        }
        return self._head + _encode(choice) + self._tail
