"""Sends a recording to the service and gets its transcript."""

from __future__ import annotations

import io
import json
import time
import wave
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

from cupola.client.certificate import context_for
from cupola.client.errors import ClientError, RecordingError
from cupola.client.local_key import headers_for
from cupola.client.running_service import RunningService, failure
from cupola.client.sse import DONE, EventDecoder

STANDARD_INPUT = "standard input"
_SAMPLE_BYTES = 2
_TOO_LARGE = 413  # the HTTP status


class Recording(NamedTuple):
    name: str
    content: bytes

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Raises RecordingError."""
        try:
            return cls(str(path), path.read_bytes())
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror}") from error

    @classmethod
    def of_pcm(cls, stream: BinaryIO, rate: int) -> Recording:
        """Of samples of 16 bits in one channel, without a header."""
        samples = stream.read()
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(_SAMPLE_BYTES)
            written.setframerate(rate)
            written.writeframes(samples[: len(samples) // _SAMPLE_BYTES * _SAMPLE_BYTES])
        return cls(STANDARD_INPUT, file.getvalue())


class Heard(NamedTuple):
    """How far a transcript is, in seconds."""

    end: float  # of the recording
    duration: float  # of the recording
    took: float

    @property
    def speed(self) -> float:
        """Times as fast as the recording is played."""
        return self.end / self.took if self.took > 0 else 0.0

    def __str__(self) -> str:
        return f"{self.end:.0f} of {self.duration:.0f} s, {self.speed:.1f} x real time"


def transcript(
    service: RunningService,
    recording: Recording,
    fields: Mapping[str, str],
    progress: Callable[[Heard], None],
    *,
    translate: bool = False,
) -> str:
    """The answer in the form of ``fields``. Empty fields are not sent. Raises ClientError."""
    sent = {name: value for name, value in fields.items() if value}
    if translate:
        sent.pop("language", None)
        return _ask(service, recording, sent, "translations", _whole)
    began = time.perf_counter()

    def streamed(chunks: Iterable[bytes]) -> str:
        return _transcript(chunks, sent["response_format"], progress, began)

    return _ask(service, recording, sent | {"stream": "true"}, "transcriptions", streamed)


def _ask(
    service: RunningService,
    recording: Recording,
    fields: Mapping[str, str],
    kind: str,
    read: Callable[[Iterable[bytes]], str],
) -> str:
    import httpx2

    address = f"{service.url}/v1/audio/{kind}"
    secure = service.url.startswith("https:")
    try:
        with httpx2.Client(
            timeout=None,
            headers=headers_for(service.url),
            verify=context_for(service.url) if secure else True,
        ) as client:
            files = {"file": (PurePath(recording.name).name, recording.content)}
            with client.stream("POST", address, data=dict(fields), files=files) as answer:
                if answer.status_code != 200:
                    raise _refused(recording.name, answer.status_code, answer.read())
                return read(answer.iter_bytes())
    except httpx2.HTTPError as error:
        raise ClientError(f"The service at {service.url} does not answer: {error}") from error


def _refused(name: str, status: int, content: bytes) -> ClientError:
    text = f"{name}: {failure(status, content)}"
    try:
        param = json.loads(content)["error"]["param"]
    except (ValueError, LookupError, TypeError):
        param = None
    is_recording = param == "file" or status == _TOO_LARGE
    return RecordingError(text) if is_recording else ClientError(text)


def _whole(chunks: Iterable[bytes]) -> str:
    return b"".join(chunks).decode()


def _transcript(
    chunks: Iterable[bytes], form: str, progress: Callable[[Heard], None], began: float
) -> str:
    decoder = EventDecoder()
    for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == DONE:
                break
            event = json.loads(data)
            if error := event.get("error"):
                raise ClientError(error["message"])
            if event["type"] == "transcript.text.done":
                return _as_form(event, form)
            took = time.perf_counter() - began
            progress(Heard(float(event["end"]), float(event["duration"]), took))
    raise ClientError(
        "The service broke off its answer", "Its log may say why: cupola service logs"
    )


def _as_form(done: Mapping[str, Any], form: str) -> str:
    if form == "verbose_json":
        return json.dumps(done["transcription"], ensure_ascii=False)
    if form == "json":
        return json.dumps({"text": done["text"], "usage": done["usage"]}, ensure_ascii=False)
    return str(done["text"])
