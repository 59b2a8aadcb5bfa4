"""A message in Anthropic's shapes, whole and streamed.

message_start ping (content_block_start content_block_delta* content_block_stop)*
message_delta message_stop          a ping where nothing happens, an error where it failed
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from pydantic_core import from_json
from starlette.responses import Response

from cupola.gateway.anthropic.errors import AnthropicErrors
from cupola.gateway.core.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.dialect import Failure
from cupola.gateway.http.errors import ApiError

_encode = msgspec.json.encode
_errors = AnthropicErrors()
# Clients send it back with the thoughts, and some want that it is not empty.
SIGNATURE = "unsigned"
_TEXT: dict[str, Any] = {"type": "text", "text": ""}
_THINKING: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}


class AnthropicFrames:
    """See ``streaming.Frames``."""

    stream_type = SSE

    def __init__(self, model: str, *, max_tokens: int, show_thinking: bool = True) -> None:
        self._id = f"msg_{uuid.uuid4().hex}"
        self._model = model
        self._max_tokens = max_tokens
        self._show_thinking = show_thinking
        self._index = -1  # of the block that is open, or was last
        self._open: dict[str, Any] | None = None  # the block that is open, as it began
        self._finished = Finished(0, "stop")

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        blocks: list[dict[str, Any]] = []
        arguments: dict[int, str] = {}  # by the block's index
        usage: dict[str, int] = {}
        delta: dict[str, Any] = {}
        for event in events:
            if (begun := self._begun(event)) is not None:
                self._open = begun
                blocks.append(dict(begun))
            match event:
                case TextDelta():
                    blocks[-1]["text"] += event.text
                case ReasoningDelta() if self._show_thinking:
                    blocks[-1]["thinking"] += event.text
                    blocks[-1]["signature"] = SIGNATURE
                case ToolCallArguments():
                    at = len(blocks) - 1
                    arguments[at] = arguments.get(at, "") + event.fragment
                case Finished():
                    self._finished = event
                case UsageTotal():
                    usage, delta = _usage(event), self._end(event)
        for at, text in arguments.items():
            blocks[at]["input"] = _input(text)
        return _encode(self._message(blocks, usage) | delta)

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        # How long the prompt is, is known at the end: message_delta has it.
        usage = {"input_tokens": 0, "output_tokens": 0}
        return _frame("message_start", message=self._message([], usage)) + self.idle()

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(self._frames(event) for event in events)

    def _frames(self, event: Event) -> bytes:
        before = self._start(block) if (block := self._begun(event)) is not None else b""
        match event:
            case TextDelta():
                return before + self._delta("text_delta", text=event.text)
            case ReasoningDelta() if self._show_thinking:
                return before + self._delta("thinking_delta", thinking=event.text)
            case ToolCallArguments():
                return before + self._delta("input_json_delta", partial_json=event.fragment)
            case Finished():
                self._finished = event
                return self._stop()
            case UsageTotal():
                return _frame("message_delta", delta=self._end(event), usage=_usage(event))
        return before

    def idle(self) -> bytes:
        return _frame("ping")

    def end(self) -> bytes:
        return _frame("message_stop")

    def failure(self, error: ApiError) -> bytes:
        body = _errors.body(error.status, Failure(error.message, error.code, error.param))
        return b"event: error\ndata: " + body + b"\n\n"

    def refusal(self, error: ApiError) -> Response:
        return error.response()

    # -- blocks ------------------------------------------------------------------------------------

    def _begun(self, event: Event) -> dict[str, Any] | None:
        """The block that begins with ``event``; None: the open one goes on."""
        kind = self._open["type"] if self._open else None
        match event:
            case TextDelta() if kind != "text":
                return _TEXT
            case ReasoningDelta() if kind != "thinking" and self._show_thinking:
                return _THINKING
            case ToolCallStart():
                return {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        return None

    def _start(self, block: dict[str, Any]) -> bytes:
        before = self._stop()
        self._open = block
        self._index += 1
        return before + _frame("content_block_start", index=self._index, content_block=block)

    def _stop(self) -> bytes:
        if self._open is None:
            return b""
        signed = b""
        if self._open["type"] == "thinking":
            signed = self._delta("signature_delta", signature=SIGNATURE)
        self._open = None
        return signed + _frame("content_block_stop", index=self._index)

    def _delta(self, kind: str, **part: str) -> bytes:
        return _frame("content_block_delta", index=self._index, delta={"type": kind, **part})

    # -- parts -------------------------------------------------------------------------------------

    def _message(self, content: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _end(self, total: UsageTotal) -> dict[str, Any]:
        finished, sequence = self._finished, None
        if finished.reason == "tool_calls":
            reason = "tool_use"
        elif finished.reason == "length":
            full = total.usage.completion_tokens < self._max_tokens
            reason = "model_context_window_exceeded" if full else "max_tokens"
        elif isinstance(finished.stopped_by, str):
            reason, sequence = "stop_sequence", finished.stopped_by
        else:
            reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": sequence}


def _frame(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **fields}) + b"\n\n"


def _usage(total: UsageTotal) -> dict[str, int]:
    usage = total.usage
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _input(arguments: str) -> dict[str, Any]:
    """The arguments; of those that were cut, as much as there is."""
    try:
        value = from_json(arguments, allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
