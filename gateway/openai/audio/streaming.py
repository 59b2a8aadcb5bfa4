"""A transcript as server-sent events: the text of each part of the recording when it is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Scope, Send

from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError, RequestFailed, from_failure
from cupola.gateway.openai.audio.answers import InputTokens, TextDelta, TextDone, TokenUsage
from cupola.gateway.openai.audio.formats import Transcript, logprobs
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE, event
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.scheduler.protocol.messages import Output

_ENCODER_POSITIONS = 50  # a second


class TranscriptStream:
    """An ASGI response. ``batches``: those of ``SchedulerClient.generate``."""

    def __init__(self, batches: AsyncGenerator[list[Output]]) -> None:
        self._batches = batches
        self._outputs: list[Output] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(receive), aclosing(self._batches):
            # What fails before the headers are sent gets an HTTP status: see error_formats.
            batch = await anext(self._batches)
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                await self._send(send, batch)
                async for batch in self._batches:
                    await self._send(send, batch)
                end = self._end()
            except RequestFailed as failed:
                end = event(OpenAIErrors().encode(from_failure(failed)))
            await send({"type": "http.response.body", "body": end})

    async def _send(self, send: Send, batch: list[Output]) -> None:
        frames = b"".join(map(self._delta, batch)) if batch else KEEP_ALIVE
        await send({"type": "http.response.body", "body": frames, "more_body": True})

    def _delta(self, output: Output) -> bytes:
        # The text begins without the space that each segment begins with.
        said = any(each.segments for each in self._outputs)
        self._outputs.append(output)
        if not output.text:
            return b""
        text = output.text if said else output.text.lstrip()
        return event(msgspec.json.encode(TextDelta(text, logprobs=logprobs(output.logprobs))))

    def _end(self) -> bytes:
        if not self._outputs or not self._outputs[-1].last:
            raise ApiError(499, "client_closed_request", "The client went away")
        transcript = Transcript.of(self._outputs, translated=False)
        heard = round(transcript.recording.seconds * _ENCODER_POSITIONS)
        prompt, made = transcript.usage.prompt_tokens, transcript.usage.completion_tokens
        usage = TokenUsage(heard + prompt, made, heard + prompt + made, InputTokens(heard, prompt))
        done = TextDone(transcript.text, usage, logprobs=logprobs(transcript.logprobs))
        return event(msgspec.json.encode(done)) + DONE
