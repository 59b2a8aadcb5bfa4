"""POST /v1/audio/transcriptions and /v1/audio/translations: speech to text."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.access.client import current_client
from cupola.gateway.access.turns import current_turn
from cupola.gateway.core.asking import ask
from cupola.gateway.core.encoding import encoded
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.multipart import MULTIPART, is_multipart, read_form
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openai.audio.answers import Transcription, VerboseTranscription
from cupola.gateway.openai.audio.body import (
    AudioRequest,
    TranscriptionForm,
    TranscriptionOfPath,
    TranscriptionRequest,
    TranslationForm,
    form_values,
)
from cupola.gateway.openai.audio.formats import FORMATS, Transcript
from cupola.gateway.openai.audio.sound_path import read_sound
from cupola.gateway.openai.audio.streaming import TranscriptStream
from cupola.gateway.openapi.described import SSE, Operation, Section, post
from cupola.scheduler.protocol.tasks import Transcribe

Form = TypeVar("Form", bound=AudioRequest)
NAMES = {"audio": "file"}
_NO_JSON = {"application/octet-stream", "application/ogg", "application/x-www-form-urlencoded"}


class AudioEndpoints:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._client = dependencies.client
        self._models = dependencies.models
        self._config = dependencies.config

    def routes(self) -> list[Route]:
        transcribes = Operation(
            Section.OPENAI,
            "The text of a recording",
            "`srt`, `vtt` and `text` are answered as plain text. A body in JSON names a file of "
            "the server instead of having it, as Foundry Local does.",
            body=TranscriptionForm,
            takes=MULTIPART,
            answer=(Transcription, VerboseTranscription),
            stream=SSE,
            errors=(*WORK, "invalid_form", "forbidden"),
        )
        translates = Operation(
            Section.OPENAI,
            "The text of a recording in English",
            body=TranslationForm,
            takes=MULTIPART,
            answer=(Transcription, VerboseTranscription),
            errors=(*WORK, "invalid_form"),
        )
        return [
            post("/v1/audio/transcriptions", self.transcribe, transcribes),
            post("/v1/audio/translations", self.translate, translates),
        ]

    async def transcribe(self, request: Request) -> Response | TranscriptStream:
        content_type = request.headers.get("content-type", "")
        if _is_no_json(content_type) or is_multipart(content_type):
            form = await aside(request, _form, TranscriptionForm, *await _content(request))
            return await self._answer(request, form, form.task(form.file))
        body = await read_body(TranscriptionOfPath, request)
        read = partial(
            read_sound, body.filename, self._config.audio_folder, self._config.max_audio_bytes
        )
        return await self._answer(request, body, body.task(await anyio.to_thread.run_sync(read)))

    async def translate(self, request: Request) -> Response | TranscriptStream:
        form = await aside(request, _form, TranslationForm, *await _content(request))
        return await self._answer(request, form, form.task(form.file))

    async def _answer(
        self, request: Request, body: AudioRequest, task: Transcribe
    ) -> Response | TranscriptStream:
        wanted = body.response_format or "json"
        streamed = isinstance(body, TranscriptionRequest) and bool(body.stream)
        with with_param_names(NAMES):
            model = await self._models.find(body.model)
            ttl = body.seconds_loaded
            if streamed:
                tenant, turn = current_client().tenant, current_turn()
                batches = self._client.generate(model, encoded(task), ttl, tenant=tenant, turn=turn)
                return TranscriptStream(batches, wanted, lists_segments=body.lists_segments)
            outputs = await ask(self._client, request, model, task, ttl)
        transcript = Transcript.of(
            outputs, translated=task.translate, lists_segments=body.lists_segments
        )
        write, media = FORMATS[wanted]
        content = await anyio.to_thread.run_sync(write, transcript)
        return Response(content, media_type=media)


def _is_no_json(content_type: str) -> bool:
    """What a client says that has sent the sound itself, or a form without files."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith(("audio/", "video/")) or kind in _NO_JSON


async def _content(request: Request) -> tuple[bytes, str]:
    return await request.body(), request.headers.get("content-type", "")


def _form(kind: type[Form], content: bytes, content_type: str) -> Form:
    if not is_multipart(content_type):
        text = f"The Content-Type must be {MULTIPART}, with the sound as 'file'"
        raise ApiError(415, "unsupported_media_type", text)
    return kind.model_validate(form_values(read_form(content, content_type)))
