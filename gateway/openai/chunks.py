"""The frames of a streamed chat completion, as bytes. Pure.

A chunk is no struct, because this is the hot path: what never changes in a stream is encoded once.
A token then costs one small JSON string and two concatenations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cupola.gateway.openai.answers import ChoiceLogprobs, CompletionUsage

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
        self.created = created
        same = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._head = b"data: " + _encode(same)[:-1] + b',"choices":['
        further = self.further_fields()
        self._end = (b"," + _encode(further)[1:] if further else b"}") + b"\n\n"
        # With include_usage every other chunk says "usage": null, as OpenAI's API does.
        self._tail = (b'],"usage":null' if include_usage else b"]") + self._end
        self._before_content: dict[int, bytes] = {}
        self._after_content = b'},"logprobs":null,"finish_reason":null}' + self._tail

    def further_fields(self) -> dict[str, Any]:
        """Of every chunk, beside OpenAI's."""
        return {}

    def choice(self, index: int, delta: Any) -> dict[str, Any]:
        """What a choice has beside its logprobs and finish reason."""
        return {"index": index, "delta": delta}

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
        return self._head + b'],"usage":' + _encode(usage) + self._end

    def _chunk(
        self, index: int, delta: Any, logprobs: ChoiceLogprobs | None, reason: str | None
    ) -> bytes:
        choice = self.choice(index, delta) | {"logprobs": logprobs, "finish_reason": reason}
        return self._head + _encode(choice) + self._tail
