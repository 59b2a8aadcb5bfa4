"""A message in Anthropic's shapes, whole and streamed.

message_start ping (content_block_start content_block_delta* content_block_stop)*
message_delta message_stop          a ping where nothing happens, an error where it failed

message_start comes when the prompt has been read, because it says how long the prompt is. Until
then comments keep the connection open: some clients take no other event before message_start.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any, get_args

import msgspec
from pydantic_core import from_json

from cupola.gateway.anthropic.answers import (
    AnthropicAnswer,
    AnthropicUsage,
    BlockDelta,
    BlockStart,
    BlockStop,
    Content,
    InputPiece,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignaturePiece,
    Stop,
    StreamEvent,
    TextContent,
    TextPiece,
    ThinkingContent,
    ThinkingPiece,
    ToolUseContent,
)
from cupola.gateway.anthropic.errors import AnthropicErrors
from cupola.gateway.core.events import (
    Event,
    Finished,
    PromptRead,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.errors import ApiError
from cupola.scheduler.protocol.outputs import Usage

_encode = msgspec.json.Encoder().encode
_errors = AnthropicErrors()
# Clients send it back with the thoughts, and some want that it is not empty.
SIGNATURE = "unsigned"
KEEP_ALIVE = b": keep-alive\n\n"
_HEADS = {
    kind: f"event: {kind.__struct_config__.tag}\ndata: ".encode() for kind in get_args(StreamEvent)
}


class AnthropicFrames:
    """See ``streaming.Frames``."""

    stream_type = SSE

    def __init__(self, model: str, *, max_tokens: int, show_thinking: bool = True) -> None:
        self._id = f"msg_{token_hex(16)}"
        self._model = model
        self._max_tokens = max_tokens
        self._show_thinking = show_thinking
        self._index = -1  # of the block that is open, or was last
        self._open: Content | None = None  # the block that is open
        self._finished = Finished(0, "stop")
        self._started = False  # whether message_start has been sent

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        blocks: list[Content] = []
        arguments: dict[int, str] = {}  # by the block's index
        answer: AnthropicAnswer | None = None
        for event in events:
            if (begun := self._begun(event)) is not None:
                self._open = begun
                blocks.append(begun)
            match event, self._open:
                case TextDelta(), TextContent() as block:
                    block.text += event.text
                case ReasoningDelta(), ThinkingContent() as block:
                    block.thinking += event.text
                    block.signature = SIGNATURE
                case ToolCallArguments(), ToolUseContent():
                    at = len(blocks) - 1
                    arguments[at] = arguments.get(at, "") + event.fragment
                case Finished(), _:
                    self._finished = event
                case UsageTotal(), _:
                    answer = self._answer(event, blocks)
        for at, text in arguments.items():
            call = blocks[at]
            if isinstance(call, ToolUseContent):
                call.input = _input(text)
        return _encode(answer)

    def _answer(self, total: UsageTotal, blocks: list[Content]) -> AnthropicAnswer:
        stop = self._stop(total)
        return AnthropicAnswer(
            id=self._id,
            model=self._model,
            content=tuple(blocks),
            stop_reason=stop.stop_reason,
            stop_sequence=stop.stop_sequence,
            usage=_usage(total.usage),
        )

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        return b""

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(self._message_start(event) + self._frames(event) for event in events)

    def _message_start(self, event: Event) -> bytes:
        """The frames before all others, when the first event comes."""
        if self._started:
            return b""
        self._started = True
        usage = AnthropicUsage()
        if isinstance(event, PromptRead | UsageTotal):
            usage = _usage(event.usage)
        message = AnthropicAnswer(id=self._id, model=self._model, usage=usage)
        return _frame(MessageStart(message)) + self.idle()

    def _frames(self, event: Event) -> bytes:
        before = self._start(block) if (block := self._begun(event)) is not None else b""
        match event:
            case TextDelta():
                return before + self._delta(TextPiece(event.text))
            case ReasoningDelta() if self._show_thinking:
                return before + self._delta(ThinkingPiece(event.text))
            case ToolCallArguments():
                return before + self._delta(InputPiece(event.fragment))
            case Finished():
                self._finished = event
                return self._close()
            case UsageTotal():
                return _frame(MessageDelta(self._stop(event), _usage(event.usage)))
        return before

    def idle(self) -> bytes:
        return _frame(Ping()) if self._started else KEEP_ALIVE

    def end(self) -> bytes:
        return _frame(MessageStop())

    def failure(self, error: ApiError) -> bytes:
        return b"event: error\ndata: " + _errors.encode(error) + b"\n\n"

    # -- blocks ------------------------------------------------------------------------------------

    def _begun(self, event: Event) -> Content | None:
        """The block that begins with ``event``; None: the open one goes on."""
        match event:
            case TextDelta() if not isinstance(self._open, TextContent):
                return TextContent()
            case ReasoningDelta() if self._show_thinking:
                return None if isinstance(self._open, ThinkingContent) else ThinkingContent()
            case ToolCallStart():
                return ToolUseContent(event.id, event.name)
        return None

    def _start(self, block: Content) -> bytes:
        before = self._close()
        self._open = block
        self._index += 1
        return before + _frame(BlockStart(self._index, block))

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = b""
        if isinstance(self._open, ThinkingContent):
            signed = self._delta(SignaturePiece(SIGNATURE))
        self._open = None
        return signed + _frame(BlockStop(self._index))

    def _delta(self, piece: TextPiece | ThinkingPiece | SignaturePiece | InputPiece) -> bytes:
        return _frame(BlockDelta(self._index, piece))

    # -- the end -----------------------------------------------------------------------------------

    def _stop(self, total: UsageTotal) -> Stop:
        finished = self._finished
        if finished.reason == "tool_calls":
            return Stop("tool_use", None)
        if finished.reason == "length":
            full = total.usage.completion_tokens < self._max_tokens
            return Stop("model_context_window_exceeded" if full else "max_tokens", None)
        if isinstance(finished.stopped_by, str):
            return Stop("stop_sequence", finished.stopped_by)
        return Stop("end_turn", None)


def _frame(event: StreamEvent) -> bytes:
    return _HEADS[type(event)] + _encode(event) + b"\n\n"


def _usage(usage: Usage) -> AnthropicUsage:
    return AnthropicUsage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_creation_input_tokens=0,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )


def _input(arguments: str) -> dict[str, Any]:
    """The arguments. Of those that were cut, as much as there is."""
    try:
        value = from_json(arguments, allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
