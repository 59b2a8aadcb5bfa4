"""A chat completion in OpenAI's shapes: a whole answer's body, a streamed one's chunks."""

from __future__ import annotations

import time
import uuid

import msgspec
from starlette.responses import Response

from cupola.gateway.answering import SSE
from cupola.gateway.chunks import DONE, KEEP_ALIVE, ChunkEncoder, event
from cupola.gateway.collected import CollectedAnswer, collect
from cupola.gateway.errors import ApiError
from cupola.gateway.events import Event, Finished, TextDelta, UsageTotal
from cupola.gateway.schemas import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    CompletionTokensDetails,
    CompletionUsage,
    PromptTokensDetails,
)
from cupola.scheduler.messages import Usage


class ChatFrames:
    """See ``answering.Frames``."""

    stream_type = SSE
    prompt_param = "messages"

    def __init__(
        self, model: str, fingerprint: str, *, answers: int = 1, include_usage: bool = False
    ) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model
        self._fingerprint = fingerprint
        self._answers = answers
        self._include_usage = include_usage
        self._chunks = ChunkEncoder(self._id, self._created, model, fingerprint, include_usage)

    def whole(self, events: list[Event]) -> bytes:
        collected = collect(events, self._answers)
        completion = ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=tuple(_choice(i, answer) for i, answer in enumerate(collected.answers)),
            usage=usage_of(collected.usage, collected.reasoning_tokens),
            system_fingerprint=self._fingerprint,
        )
        return msgspec.json.encode(completion)

    def begin(self) -> bytes:
        return self._chunks.first()

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(self._frame(event) for event in events)

    def _frame(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._chunks.content(event.text)
            case Finished():
                return self._chunks.last(event.reason)
            case UsageTotal() if self._include_usage:
                return self._chunks.usage(usage_of(event.usage, event.reasoning_tokens))
        return b""

    def idle(self) -> bytes:
        return KEEP_ALIVE

    def end(self) -> bytes:
        return DONE

    def failure(self, error: ApiError) -> bytes:
        return event(error.body)  # and no [DONE]

    def refusal(self, error: ApiError) -> Response:
        return error.response()


def _choice(index: int, answer: CollectedAnswer) -> Choice:
    return Choice(AnswerMessage(answer.text), answer.reason, index)


def usage_of(usage: Usage, reasoning_tokens: int = 0) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens),
    )
