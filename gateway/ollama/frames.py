"""Answers in Ollama's shapes: one JSON object, or one a line.

Durations are in nanoseconds, as the gateway sees them: the prompt's ends with the first event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

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
from cupola.gateway.http.dialect import Failure
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.timestamps import rfc3339
from cupola.gateway.ollama.answers import OllamaErrorAnswer
from cupola.gateway.openapi.described import NDJSON
from cupola.scheduler.protocol.messages import TokenLogprob

_encode = msgspec.json.encode


class OllamaErrors:
    """See ``dialect.Dialect``. Beside Ollama's text stand the code and the parameter."""

    prefix = "/api/"
    answer = OllamaErrorAnswer

    def status(self, status: int, failure: Failure) -> int:
        return status

    def body(self, status: int, failure: Failure, request_id: str = "") -> bytes:
        body = {"error": failure.message, "code": failure.code, "param": failure.param}
        return _encode(body)

    def headers(self, headers: MutableHeaders) -> None:
        pass


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
        self._first = 0  # when something came
        self._reason: Reason = "stop"
        self._calls = 0  # that were told
        self._call: CollectedCall | None = None  # told whole, when it has ended
        self._logprobs: tuple[TokenLogprob, ...] = ()  # that wait for their text

    def arrived(self) -> None:
        """Something came: from the first time on the answer is being made."""
        self._first = self._first or self._clock()

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        collected = collect(events, 1)
        [answer] = collected.answers
        self._reason = answer.reason
        usage = UsageTotal(collected.usage, collected.reasoning_tokens)
        told = self._part(answer.text, answer) | self._end(usage)
        if answer.logprobs:
            told["logprobs"] = _logprobs(answer.logprobs)
        return _encode(told)

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        return b""

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(self._line(told) for event in events for told in self._told(event))

    def _told(self, event: Event) -> list[dict[str, Any]]:
        match event:
            case TextDelta():
                return [*self._called(), self._part(event.text)]
            case ReasoningDelta() if self._show_thinking:
                return [*self._called(), self._part("", CollectedAnswer(reasoning=event.text))]
            case Logprobs():
                self._logprobs += event.tokens
            case ToolCallStart():
                before = self._called()
                self._call = CollectedCall(event.id, event.name)
                return before
            case ToolCallArguments() if self._call is not None:
                self._call.arguments += event.fragment
            case Finished():
                self._reason = event.reason
                return self._called()
            case UsageTotal():
                return [self._part("") | self._end(event)]
        return []

    def _called(self) -> list[dict[str, Any]]:
        """The call that has ended, if there is one."""
        call, self._call = self._call, None
        return [] if call is None else [self._part("", CollectedAnswer(calls=[call]))]

    def idle(self) -> bytes:
        return self._line(self._part(""))  # an empty line is no JSON

    def end(self) -> bytes:
        return b""

    def failure(self, error: ApiError) -> bytes:
        failure = Failure(error.message, error.code, error.param)
        return OllamaErrors().body(error.status, failure) + b"\n"

    def refusal(self, error: ApiError) -> Response:
        return error.response()

    # -- parts -------------------------------------------------------------------------------------

    def nothing(self, reason: str) -> dict[str, Any]:
        """The answer to a request that only loads or unloads."""
        took = self._clock() - self._began
        times = {"total_duration": took, "load_duration": took}
        return self._part("") | {"done": True, "done_reason": reason} | times

    def _line(self, told: dict[str, Any]) -> bytes:
        if self._logprobs:
            told["logprobs"], self._logprobs = _logprobs(self._logprobs), ()
        return _encode(told) + b"\n"

    def _part(self, text: str, answer: CollectedAnswer | None = None) -> dict[str, Any]:
        further: dict[str, Any] = {}
        if answer and answer.reasoning and self._show_thinking:
            further["thinking"] = answer.reasoning
        if answer and answer.calls:
            further["tool_calls"] = [self._whole_call(call) for call in answer.calls]
        told: dict[str, Any] = {"model": self._model, "created_at": rfc3339(datetime.now(UTC))}
        if self._chat:
            told["message"] = {"role": "assistant", "content": text, **further}
        else:
            told |= {"response": text, **further}
        return told | {"done": False}

    def _whole_call(self, call: CollectedCall) -> dict[str, Any]:
        index = self._calls
        self._calls += 1
        function = {"index": index, "name": call.name, "arguments": _object(call.arguments)}
        return {"id": call.id, "function": function}

    def _end(self, total: UsageTotal) -> dict[str, Any]:
        now = self._clock()
        first = self._first or now
        loading = min(int(total.usage.load_seconds * 1e9), first - self._began)
        return {
            "done": True,
            "done_reason": "length" if self._reason == "length" else "stop",
            "total_duration": now - self._began,
            "load_duration": loading,
            "prompt_eval_count": total.usage.prompt_tokens,
            "prompt_eval_duration": first - self._began - loading,
            "eval_count": total.usage.completion_tokens,
            "eval_duration": max(1, now - first),  # clients divide by it
        }


def _object(arguments: str) -> dict[str, Any]:
    """Arguments that were cut have no form that Ollama's clients could take."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {
            **_token(token.token, token.logprob),
            "top_logprobs": [_token(*best) for best in token.top],
        }
        for token in tokens
    ]


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": list(token)}
