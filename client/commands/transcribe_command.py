"""``cupola transcribe``: text of recordings, over the service."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client.commands.common.options import Ttl
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output

if TYPE_CHECKING:
    from cupola.client.transcription import Recording

DEFAULT = "whisper-tiny.en"
_SOUNDS = {
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".m4a", ".mp4", ".webm", ".mkv", ".wma",
    ".aac",
}  # fmt: skip


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
    from cupola.client.commands.common.connection import running
    from cupola.client.commands.common.local_model import ensure
    from cupola.client.terminal.output import print_json
    from cupola.client.terminal.turns import share_shown
    from cupola.client.transcription import Heard, transcript

    # Foundry Local's command takes a model where this one takes a file.
    given = [*(files or []), *([file] if file else [])]
    if file is not None and files and len(files) == 1 and not files[0].exists():
        given, model = [file], str(files[0])
    found = [_PIPE] if pcm else list(_recordings(given))
    if not found:
        raise ClientError("There is nothing to transcribe", "Name a file: cupola transcribe a.wav")
    if words and output is not Form.JSON and form is not TextForm.VERBOSE_JSON:
        raise ClientError("Times of words need JSON", "Add --format verbose_json")
    from cupola.client import home

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
    for path in found:
        recording = _read(path, pcm)
        with share_shown() if sys.stderr.isatty() else nullcontext(_silent) as show:

            def shown(heard: Heard, show: Callable[[str, float], None] = show) -> None:
                show(str(heard), heard.end / max(heard.duration, 0.01))

            text = transcript(service, recording, fields, shown, translate=translate)
        if output is Form.JSON:
            import json

            print_json({"file": str(path)} | json.loads(text))
            continue
        if len(found) > 1:
            print(f"{path}:")
        print(text.rstrip("\n"))


_PIPE = Path("-")


def _silent(text: str, share: float) -> None:
    pass


def _read(path: Path, pcm: int | None) -> Recording:
    from cupola.client.transcription import Recording

    if pcm:
        return Recording.of_pcm(sys.stdin.buffer, pcm)
    return Recording("pipe", sys.stdin.buffer.read()) if path == _PIPE else Recording.read(path)


def _recordings(given: list[Path]) -> Iterator[Path]:
    """The files, and those of sound in the folders. Raises ClientError."""
    for path in given:
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix.lower() in _SOUNDS)
        elif path == _PIPE or path.is_file():
            yield path
        else:
            raise ClientError(f"There is no file {path}")
