"""A transcript as server-sent events: the text of each part of the recording when it is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Scope, Send

from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError, RequestFailed, from_failure
from cupola.gateway.openai.audio.answers import InputTokens, TextDelta, TextDone, TokenUsage
from cupola.gateway.openai.audio.formats import (
    FORMATS,
    VTT_BEGIN,
    Transcript,
    logprobs,
    srt_entries,
    verbose,
    vtt_entries,
)
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE, event
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.scheduler.protocol.outputs import Output

_ENCODER_POSITIONS = 50  # a second


class TranscriptStream:
    """An ASGI response."""

    def __init__(
        self, batches: AsyncGenerator[list[Output]], form: str, *, lists_segments: bool
    ) -> None:
        """``batches``: those of ``SchedulerClient.generate``. ``form``: as ``response_format``."""
        self._batches = batches
        self._form = form
        self._lists_segments = lists_segments
        self._outputs: list[Output] = []
        self._segments = 0  # in ``_outputs``

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with cancelled_on_disconnect(scope, receive):
            async with aclosing(self._batches):
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
        text = self._text(output)
        self._outputs.append(output)
        self._segments += len(output.segments)
        if not text:
            return b""
        end = output.segments[-1].end if output.segments else 0.0
        seconds = round(output.recording.seconds, 2) if output.recording else end
        return event(msgspec.json.encode(TextDelta(text, end, seconds, logprobs(output.logprobs))))

    def _text(self, output: Output) -> str:
        if self._form == "srt":
            return srt_entries(output.segments, self._segments + 1)
        if self._form == "vtt":
            begin = "" if self._segments or not output.segments else VTT_BEGIN
            return begin + vtt_entries(output.segments)
        # The text begins without the space that each segment begins with.
        return output.text if self._segments else output.text.lstrip()

    def _end(self) -> bytes:
        if not self._outputs or not self._outputs[-1].last:
            raise ApiError(499, "client_closed_request", "The client went away")
        transcript = Transcript.of(
            self._outputs, translated=False, lists_segments=self._lists_segments
        )
        heard = round(transcript.recording.seconds * _ENCODER_POSITIONS)
        prompt, made = transcript.usage.prompt_tokens, transcript.usage.completion_tokens
        usage = TokenUsage(heard + prompt, made, heard + prompt + made, InputTokens(heard, prompt))
        text = transcript.text
        if self._form in ("srt", "vtt"):
            write, _ = FORMATS[self._form]
            text = write(transcript).decode()
        whole = verbose(transcript) if self._form == "verbose_json" else None
        done = TextDone(text, usage, logprobs(transcript.logprobs), whole)
        return event(msgspec.json.encode(done)) + DONE
