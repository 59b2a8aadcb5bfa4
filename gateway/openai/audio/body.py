"""The bodies of POST /v1/audio/transcriptions and /v1/audio/translations.

OpenAI's clients send a form with a file. Foundry Local's send JSON with the path of a file on the
server's disk, which is read only below the folder of the setting ``audio_folder``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from cupola.gateway.core.fields import KeepAlive, Model, Seed, Ttl
from cupola.gateway.http.multipart import Form
from cupola.gateway.http.validation import Endpoint, Refused, invalid
from cupola.gateway.openai.audio.languages import CODES
from cupola.scheduler.protocol.tasks import Transcribe

MAX_PROMPT = 100_000  # characters; the model reads its last 223 tokens
Form_ = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["segment", "word"]
_SPEAKERS = "the model does not tell speakers apart; leave it out"


def check_language(name: str) -> str:
    """Also takes what is written as 'en-US', and what verbose_json calls it: 'english'."""
    code = name.partition("-")[0].partition("_")[0].lower()
    return CODES.get(name.strip().lower(), code)


Language = Annotated[str, StringConstraints(max_length=20), AfterValidator(check_language)]
Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT)]
Upload = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


def _as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class AudioRequest(Endpoint):
    """What all have in common. ``stream`` and the like are for transcriptions only."""

    model: Model
    prompt: Prompt | None = None
    response_format: Form_ | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Seed | None = None
    ttl: Ttl | None = None
    keep_alive: KeepAlive | None = None

    @property
    def lists_segments(self) -> bool:
        """Whether verbose_json has the segments: not where a client asks for words alone."""
        return True

    @property
    def seconds_loaded(self) -> float | None:
        return self.keep_alive if self.ttl is None else self.ttl


class TranscriptionRequest(AudioRequest):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("known_speaker_names", bool, _SPEAKERS),
        Refused("known_speaker_references", bool, _SPEAKERS),
    )
    labels: ClassVar[frozenset[str]] = frozenset({"chunking_strategy", "user"})

    language: Language | None = None
    stream: bool | None = None
    include: Annotated[list[Literal["logprobs"]], BeforeValidator(_as_list)] | None = None
    timestamp_granularities: Annotated[list[Granularity], BeforeValidator(_as_list)] | None = None
    condition_on_previous_text: bool | None = None
    chunking_strategy: Any = None
    known_speaker_names: Any = None
    known_speaker_references: Any = None
    user: str | None = None

    @model_validator(mode="after")
    def _check_granularities(self) -> Self:
        if self.wants_words and self.response_format != "verbose_json":
            text = "times of words need the response_format 'verbose_json'"
            raise invalid(text, "timestamp_granularities")
        return self

    @property
    def wants_words(self) -> bool:
        return "word" in (self.timestamp_granularities or ())

    @property
    def lists_segments(self) -> bool:
        return not self.wants_words or "segment" in (self.timestamp_granularities or ())

    def task(self, audio: bytes) -> Transcribe:
        return Transcribe(
            audio,
            language=self.language or "",
            prompt=self.prompt or "",
            temperature=self.temperature or 0.0,
            seed=self.seed,
            condition=bool(self.condition_on_previous_text),
            logprobs=bool(self.include),
            words=self.wants_words,
        )


class TranscriptionForm(TranscriptionRequest):
    file: Upload


class TranscriptionOfPath(TranscriptionRequest):
    filename: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class TranslationForm(AudioRequest):
    labels: ClassVar[frozenset[str]] = frozenset({"user"})

    file: Upload
    user: str | None = None

    def task(self, audio: bytes) -> Transcribe:
        return Transcribe(
            audio,
            translate=True,
            prompt=self.prompt or "",
            temperature=self.temperature or 0.0,
            seed=self.seed,
        )


_NUMBERS = {"temperature": float, "seed": int, "ttl": int}
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_LISTS = {"include", "timestamp_granularities", "known_speaker_names", "known_speaker_references"}


def form_values(form: Form) -> dict[str, Any]:
    """The fields of a form with the types that JSON would give them.

    What is not of its type stays text, so that the check of the body names it.
    """
    found: dict[str, Any] = dict(form.files)
    for key, values in form.fields.items():
        name = key.removesuffix("[]")
        if name in _LISTS:
            found.setdefault(name, []).extend(values)
        elif name == "file":
            continue  # without a file name it is a field, and no file
        elif name in _NUMBERS:
            found[name] = _number(values[-1], _NUMBERS[name])
        elif name in ("stream", "condition_on_previous_text"):
            found[name] = _FLAGS.get(values[-1].lower(), values[-1])
        else:
            found[name] = values[-1]
    return found


def _number(text: str, kind: type[float] | type[int]) -> float | str:
    try:
        return kind(text)
    except ValueError:
        return text
