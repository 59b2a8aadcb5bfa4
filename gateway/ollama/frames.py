"""Answers in Ollama's shapes: one JSON object, or one a line.

Durations are in nanoseconds. The worker measures the parts, the gateway the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    Reason,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.generation.collected import CollectedAnswer, CollectedCall, collect
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.timestamps import rfc3339
from cupola.gateway.ollama.answers import (
    OllamaAnswer,
    OllamaAnswerCall,
    OllamaAnswerMessage,
    OllamaCalledFunction,
    OllamaChatAnswer,
    OllamaGenerateAnswer,
    OllamaLogprob,
    OllamaToken,
)
from cupola.gateway.ollama.errors import OllamaErrors
from cupola.gateway.openapi.described import NDJSON
from cupola.scheduler.protocol.outputs import TokenLogprob

_encode = msgspec.json.Encoder().encode
_errors = OllamaErrors()


class OllamaFrames:
    """See ``streaming.Frames``. ``chat``: answers are messages, else plain texts."""

    stream_type = NDJSON.encode()

    def __init__(
        self,
        model: str,
        *,
        chat: bool,
        show_thinking: bool = True,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._model = model
        self._chat = chat
        self._show_thinking = show_thinking
        self._clock = clock
        self._began = clock()
        self._reason: Reason = "stop"
        self._calls = 0  # that have been sent
        self._call: CollectedCall | None = None  # sent whole, when it has ended
        self._logprobs: tuple[TokenLogprob, ...] = ()  # that wait for their text

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        collected = collect(events, 1)
        [answer] = collected.answers
        if answer.cut_call:  # there is no form for half of a call
            answer.calls.pop()
        self._reason = answer.reason
        whole = self._part(answer.text, answer)
        self._end(whole, UsageTotal(collected.usage, timings=collected.timings))
        if answer.logprobs:
            whole.logprobs = _logprobs(answer.logprobs)
        return _encode(whole)

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        return b""

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(self._line(part) for event in events for part in self._parts(event))

    def _parts(self, event: Event) -> list[OllamaAnswer]:
        match event:
            case TextDelta():
                return [*self._ended_call(), self._part(event.text)]
            case ReasoningDelta() if self._show_thinking:
                return [*self._ended_call(), self._part("", CollectedAnswer(reasoning=event.text))]
            case Logprobs():
                self._logprobs += event.tokens
            case ToolCallStart():
                before = self._ended_call()
                self._call = CollectedCall(event.id, event.name)
                return before
            case ToolCallArguments() if self._call is not None:
                self._call.arguments += event.fragment
            case Finished():
                self._reason = event.reason
                if event.cut_call:  # there is no form for half of a call
                    self._call = None
                return self._ended_call()
            case UsageTotal():
                last = self._part("")
                self._end(last, event)
                return [last]
        return []

    def _ended_call(self) -> list[OllamaAnswer]:
        """The call that has ended, if there is one."""
        call, self._call = self._call, None
        return [] if call is None else [self._part("", CollectedAnswer(calls=[call]))]

    def idle(self) -> bytes:
        return self._line(self._part(""))  # an empty line is no JSON

    def end(self) -> bytes:
        return b""

    def failure(self, error: ApiError) -> bytes:
        return _errors.encode(error) + b"\n"

    # -- parts -------------------------------------------------------------------------------------

    def nothing(self, reason: Literal["load", "unload"]) -> OllamaAnswer:
        """The answer to a request that only loads or unloads."""
        answer = self._part("")
        answer.done, answer.done_reason = True, reason
        answer.total_duration = answer.load_duration = self._clock() - self._began
        return answer

    def _line(self, part: OllamaAnswer) -> bytes:
        if self._logprobs:
            part.logprobs, self._logprobs = _logprobs(self._logprobs), ()
        return _encode(part) + b"\n"

    def _part(self, text: str, answer: CollectedAnswer | None = None) -> OllamaAnswer:
        thinking: str | msgspec.UnsetType = msgspec.UNSET
        calls: list[OllamaAnswerCall] | msgspec.UnsetType = msgspec.UNSET
        if answer and answer.reasoning and self._show_thinking:
            thinking = answer.reasoning
        if answer and answer.calls:
            calls = [self._whole_call(call) for call in answer.calls]
        now = rfc3339(datetime.now(UTC))
        if self._chat:
            message = OllamaAnswerMessage("assistant", text, thinking, calls)
            return OllamaChatAnswer(self._model, now, message)
        return OllamaGenerateAnswer(self._model, now, text, thinking)  # it has no tools

    def _whole_call(self, call: CollectedCall) -> OllamaAnswerCall:
        index = self._calls
        self._calls += 1
        arguments = _object(call.arguments)
        return OllamaAnswerCall(call.id, OllamaCalledFunction(index, call.name, arguments))

    def _end(self, answer: OllamaAnswer, total: UsageTotal) -> None:
        """Write into the last part what the whole generation took."""
        timings = total.timings
        answer.done = True
        answer.done_reason = "length" if self._reason == "length" else "stop"
        answer.total_duration = self._clock() - self._began
        answer.load_duration = _nanoseconds(total.usage.load_seconds)
        answer.prompt_eval_count = total.usage.prompt_tokens
        answer.prompt_eval_duration = _nanoseconds(timings.prompt_seconds if timings else 0.0)
        answer.eval_count = total.usage.completion_tokens
        generation = _nanoseconds(timings.generation_seconds if timings else 0.0)
        answer.eval_duration = max(1, generation)  # clients divide by it


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _object(arguments: str) -> dict[str, Any]:
    """Arguments that were cut have no form that Ollama's clients could take."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[OllamaLogprob]:
    return [
        OllamaLogprob(
            _text(token.token),
            token.logprob,
            list(token.token),
            [OllamaToken(_text(best), logprob, list(best)) for best, logprob in token.top],
        )
        for token in tokens
    ]


def _text(token: bytes) -> str:
    return token.decode(errors="replace")
