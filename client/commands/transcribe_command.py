"""``cupola transcribe``: text of recordings, over the service."""

from __future__ import annotations

import enum
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client.commands.common.options import Ttl
from cupola.client.errors import ClientError, RecordingError
from cupola.client.terminal.output import Form, Output

if TYPE_CHECKING:
    from cupola.client.running_service import RunningService
    from cupola.client.transcription import Recording

DEFAULT = "whisper-tiny.en"


class TextForm(enum.StrEnum):
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    VERBOSE_JSON = "verbose_json"


def transcribe(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Recordings, or folders; '-' is a pipe."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The same as FILE.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of speech.")] = DEFAULT,
    form: Annotated[TextForm, typer.Option("--format", help="The form.")] = TextForm.TEXT,
    language: Annotated[str, typer.Option(help="The language that is spoken, as 'en'.")] = "",
    prompt: Annotated[str, typer.Option(help="Names and spelling to expect.")] = "",
    translate: Annotated[bool, typer.Option("--translate", help="To English.")] = False,
    words: Annotated[
        bool, typer.Option("--words", help="With the times of words, in JSON.")
    ] = False,
    pcm: Annotated[
        int | None,
        typer.Option(
            min=1000,
            max=384_000,
            metavar="RATE",
            help="Standard input has bare samples: 16 bits, one channel, RATE a second.",
        ),
    ] = None,
    ttl: Ttl = None,
    output: Output = Form.TEXT,
) -> None:
    """Turn speech into text, over the service, which is started if need be.

    Example: cupola transcribe talk.mp3 --format srt > talk.srt
    """
    from cupola.client import home, recordings
    from cupola.client.commands.common.connection import running
    from cupola.client.commands.common.local_model import ensure

    # Foundry Local's command takes a model where this one takes a file.
    given = [*(files or []), *([file] if file else [])]
    if file is not None and files and len(files) == 1 and not files[0].exists():
        given, model = [file], str(files[0])
    found = recordings.named(given, bare_samples=pcm is not None)
    if words and output is not Form.JSON and form is not TextForm.VERBOSE_JSON:
        raise ClientError("Times of words need JSON", "Add --format verbose_json")
    folder = home.current()
    wanted = ensure(folder, model).variant.id
    service = running(folder)
    fields = {
        "model": wanted,
        "response_format": "verbose_json" if output is Form.JSON else str(form),
        "language": language,
        "prompt": prompt,
        "ttl": "" if ttl is None else str(ttl),
        "timestamp_granularities[]": "word" if words else "",
    }
    failed = False
    for path in found:
        try:
            text = _transcript(service, _read(path, pcm), fields, translate=translate)
        except RecordingError as error:
            if len(found) == 1:
                raise
            print(f"cupola: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        _print(path, text, form, output, alone=len(found) == 1)
    if failed:
        raise typer.Exit(1)


def _transcript(
    service: RunningService, recording: Recording, fields: dict[str, str], *, translate: bool
) -> str:
    """The answer of the service, with a bar meanwhile."""
    from cupola.client.terminal.turns import share_shown
    from cupola.client.transcription import Heard, transcript

    with share_shown() if sys.stderr.isatty() else nullcontext(_silent) as show:

        def shown(heard: Heard) -> None:
            show(str(heard), heard.end / max(heard.duration, 0.01))

        return transcript(service, recording, fields, shown, translate=translate)


def _print(path: Path, text: str, form: TextForm, output: Form, *, alone: bool) -> None:
    """Objects of several recordings, a line for each, say which one they are of."""
    from cupola.client.terminal.output import print_json

    is_json = form in (TextForm.JSON, TextForm.VERBOSE_JSON)
    if output is Form.JSON or (is_json and not alone):
        print_json({"file": str(path)} | json.loads(text))
        return
    if not alone:
        print(f"{path}:")
    print(text.rstrip("\n"), flush=True)


def _silent(text: str, share: float) -> None:
    pass


def _read(path: Path, pcm: int | None) -> Recording:
    from cupola.client.recordings import PIPE
    from cupola.client.transcription import STANDARD_INPUT, Recording

    if pcm is not None:
        return Recording.of_pcm(sys.stdin.buffer, pcm)
    if path == PIPE:
        return Recording(STANDARD_INPUT, sys.stdin.buffer.read())
    return Recording.read(path)
