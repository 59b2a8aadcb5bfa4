"""A chat completion in OpenAI's shapes: a whole answer's body, a streamed one's chunks."""

from __future__ import annotations

import time
from secrets import token_hex
from typing import Any

import msgspec

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    Reading,
    Reason,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.core.fingerprint import FINGERPRINT
from cupola.gateway.generation.collected import CollectedAnswer, CollectedCall, collect
from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.answers import (
    AnswerCall,
    AnswerMessage,
    ChatCompletion,
    Choice,
    CompletionTokensDetails,
    CompletionUsage,
    Custom,
    Function,
    PromptTokensDetails,
)
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE, ChunkEncoder, event
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.gateway.openai.logprobs import chat_logprobs
from cupola.gateway.openai.timings import timings_of, with_progress, with_timings
from cupola.scheduler.protocol.outputs import TokenLogprob, Usage

_errors = OpenAIErrors()


class ChatFrames:
    """See ``streaming.Frames``. ``functions``: calls are written as ``function_call``.

    ``timings``: all chunks have them, not only the last one.
    """

    stream_type = SSE
    chunk_encoder: type[ChunkEncoder] = ChunkEncoder

    def __init__(
        self,
        model: str,
        *,
        answers: int = 1,
        include_usage: bool = False,
        include_reasoning: bool = True,
        logprobs: bool = False,
        functions: bool = False,
        timings: bool = False,
    ) -> None:
        self._id = f"chatcmpl-{token_hex(16)}"
        self._created = int(time.time())
        self._model = model
        self._answers = answers
        self._include_usage = include_usage
        self._include_reasoning = include_reasoning
        self._logprobs = logprobs
        self._functions = functions
        self._timings = timings
        self._chunks = self.chunk_encoder(
            self._id, self._created, model, FINGERPRINT, include_usage
        )
        # Logprobs that wait for the text they belong to, by answer.
        self._waiting: dict[int, tuple[TokenLogprob, ...]] = {}
        self._custom: set[tuple[int, int]] = set()  # calls of custom tools: answer and number

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        collected = collect(events, self._answers)
        completion = self.completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=tuple(self._choice(i, a) for i, a in enumerate(collected.answers)),
            usage=usage_of(collected.usage, collected.reasoning_tokens),
            system_fingerprint=FINGERPRINT,
            timings=timings_of(collected.timings) if collected.timings else msgspec.UNSET,
        )
        return msgspec.json.encode(completion)

    def completion(self, **fields: Any) -> ChatCompletion:
        return ChatCompletion(**fields)

    def _choice(self, index: int, answer: CollectedAnswer) -> Choice:
        logprobs = chat_logprobs(answer.logprobs) if self._logprobs else None
        return Choice(self._message(answer), self._reason(answer.reason), index, logprobs)

    def _message(self, answer: CollectedAnswer) -> AnswerMessage:
        further: dict[str, Any] = {}
        if answer.reasoning and self._include_reasoning:
            further["reasoning_content"] = further["reasoning"] = answer.reasoning
        if answer.calls and self._functions:
            call = answer.calls[0]
            further["function_call"] = Function(call.name, call.arguments)
        elif answer.calls:
            further["tool_calls"] = tuple(_call(call) for call in answer.calls)
        return AnswerMessage((answer.text or None) if answer.calls else answer.text, **further)

    def _reason(self, reason: Reason) -> str:
        return "function_call" if self._functions and reason == "tool_calls" else reason

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        return b"".join(self._chunks.first(index) for index in range(self._answers))

    def encode(self, events: list[Event]) -> bytes:
        frames = [self._frame(event) for event in events]
        frames += [self._flush(index) for index in list(self._waiting)]
        return b"".join(with_timings(frames, events, each=self._timings))

    def _frame(self, event: Event) -> bytes:
        match event:
            case TextDelta(index, text):
                if tokens := self._waiting.pop(index, None):
                    return self._chunks.delta(index, {"content": text}, chat_logprobs(tokens))
                return self._chunks.content(text, index)
            case ReasoningDelta(index, text) if self._include_reasoning:
                return self._chunks.delta(index, {"reasoning_content": text, "reasoning": text})
            case ToolCallStart():
                return self._chunks.delta(event.index, self._started(event))
            case ToolCallArguments():
                return self._chunks.delta(event.index, self._continued(event))
            case Logprobs(index, tokens):
                before = self._flush(index)
                self._waiting[index] = tokens
                return before
            case Reading(index, progress):
                return with_progress(self._chunks.delta(index, {}), progress)
            case Finished():
                reason = self._reason(event.reason)
                return self._flush(event.index) + self._chunks.last(reason, event.index)
            case UsageTotal() if self._include_usage:
                return self._chunks.usage(usage_of(event.usage, event.reasoning_tokens))
        return b""

    def _flush(self, index: int) -> bytes:
        """Logprobs of tokens without a text of their own."""
        tokens = self._waiting.pop(index, None)
        return self._chunks.delta(index, {}, chat_logprobs(tokens)) if tokens else b""

    def _started(self, event: ToolCallStart) -> dict[str, Any]:
        if event.custom:
            self._custom.add((event.index, event.call))
            custom = {"name": event.name, "input": ""}
            call = {"index": event.call, "id": event.id, "type": "custom", "custom": custom}
            return {"tool_calls": [call]}
        function = {"name": event.name, "arguments": ""}
        if self._functions:
            return {"function_call": function}
        call = {"index": event.call, "id": event.id, "type": "function", "function": function}
        return {"tool_calls": [call]}

    def _continued(self, event: ToolCallArguments) -> dict[str, Any]:
        if (event.index, event.call) in self._custom:
            custom = {"input": event.fragment}
            return {"tool_calls": [{"index": event.call, "custom": custom}]}
        function = {"arguments": event.fragment}
        if self._functions:
            return {"function_call": function}
        return {"tool_calls": [{"index": event.call, "function": function}]}

    def idle(self) -> bytes:
        return KEEP_ALIVE

    def end(self) -> bytes:
        return DONE

    def failure(self, error: ApiError) -> bytes:
        return event(_errors.encode(error))  # and no [DONE]


def _call(call: CollectedCall) -> AnswerCall:
    if call.custom:
        return AnswerCall(call.id, custom=Custom(call.name, call.arguments), type="custom")
    return AnswerCall(call.id, Function(call.name, call.arguments))


def usage_of(usage: Usage, reasoning_tokens: int = 0) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(
            reasoning_tokens=reasoning_tokens,
            accepted_prediction_tokens=usage.accepted_prediction_tokens,
            rejected_prediction_tokens=usage.rejected_prediction_tokens,
        ),
    )
