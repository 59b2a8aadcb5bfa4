"""POST /v1/chat/completions.

One path for both kinds of answer: an answer that is not streamed is a collected stream.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.metadata import version

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cupola.gateway.calls import RequestFailed
from cupola.gateway.chunks import DONE, KEEP_ALIVE, ChunkEncoder, event
from cupola.gateway.disconnect import cancelled_on_disconnect
from cupola.gateway.errors import ApiError, from_failure
from cupola.gateway.models import ModelDirectory
from cupola.gateway.scheduler_client import SchedulerClient
from cupola.gateway.schemas import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    CompletionUsage,
    PromptTokensDetails,
)
from cupola.scheduler.messages import Chat, Output, SamplingParams, Usage, Work, encode_work

FINGERPRINT = f"cupola-{version('cupola')}"
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
]

Outputs = AsyncGenerator[list[Output]]


class ChatApi:
    def __init__(self, client: SchedulerClient, models: ModelDirectory) -> None:
        self._client = client
        self._models = models

    async def create(self, request: Request) -> ChatAnswer:
        asked = ChatRequest.model_validate_json(await request.body())
        model = await self._models.find(asked.model)
        try:
            work = encode_work(work_of(asked))
        except (OverflowError, RecursionError):  # only tool calls are passed on as they came
            text = "'messages' holds a number or a nesting that is too large"
            raise ApiError(400, "invalid_value", text, param="messages") from None
        return ChatAnswer(self._client.generate(model, work, asked.ttl), model.id, asked)


def work_of(asked: ChatRequest) -> Work:
    """What a worker is to do for a chat request."""
    return Work(
        prompt=Chat(tuple(message.for_template() for message in asked.messages)),
        sampling=SamplingParams(
            max_tokens=asked.token_limit,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            top_k=asked.effective_top_k,
            seed=asked.effective_seed,
            stop=tuple(asked.stop or ()),
            ignore_eos=bool(asked.ignore_eos),
        ),
    )


def usage_of(usage: Usage) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
    )


class ChatAnswer:
    """The answer, streamed or whole. A client that goes away ends the generation."""

    def __init__(self, outputs: Outputs, model_id: str, asked: ChatRequest) -> None:
        self._outputs = outputs
        self._model_id = model_id
        self._asked = asked
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._stream if self._asked.stream else self._collect
        async with cancelled_on_disconnect(receive), aclosing(self._outputs):
            try:
                # A refusal has an HTTP status as long as no header is out.
                batch = await anext(self._outputs)
            except RequestFailed as failed:
                await from_failure(failed).response()(scope, receive, send)
            else:
                await answer(batch, scope, receive, send)

    async def _collect(
        self, batch: list[Output], scope: Scope, receive: Receive, send: Send
    ) -> None:
        outputs = batch
        try:
            async for batch in self._outputs:
                outputs += batch
        except RequestFailed as failed:
            await from_failure(failed).response()(scope, receive, send)
            return
        last = outputs[-1]
        message = AnswerMessage("".join(output.text for output in outputs))
        completion = ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model_id,
            choices=(Choice(message, str(last.finish_reason)),),
            usage=usage_of(last.usage) if last.usage else None,
            system_fingerprint=FINGERPRINT,
        )
        body = msgspec.json.encode(completion)
        await Response(body, media_type="application/json")(scope, receive, send)

    async def _stream(
        self, batch: list[Output], scope: Scope, receive: Receive, send: Send
    ) -> None:
        chunks = ChunkEncoder(
            self._id,
            self._created,
            self._model_id,
            FINGERPRINT,
            include_usage=self._asked.include_usage,
        )
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS]})
        body = chunks.first() + self._encode(batch, chunks)
        try:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            async for batch in self._outputs:
                body = self._encode(batch, chunks)
                await send({"type": "http.response.body", "body": body, "more_body": True})
            end = DONE
        except RequestFailed as failed:
            end = event(from_failure(failed).body)  # and no [DONE]
        await send({"type": "http.response.body", "body": end})

    def _encode(self, batch: list[Output], chunks: ChunkEncoder) -> bytes:
        if not batch:
            return KEEP_ALIVE
        frames = [chunks.content(output.text) for output in batch if output.text]
        if (reason := batch[-1].finish_reason) is not None:
            frames.append(chunks.last(reason))
            if self._asked.include_usage and (usage := batch[-1].usage):
                frames.append(chunks.usage(usage_of(usage)))
        return b"".join(frames)
