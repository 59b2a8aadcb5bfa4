"""Which recordings a command line names: files, folders, and standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cupola.client.errors import ClientError

PIPE = Path("-")
SOUNDS = frozenset(
    ".wav .flac .ogg .opus .mp3 .aiff .m4a .mp4 .webm .mkv .wma .aac".split()
)  # endings of files that are looked for in folders


def named(given: Sequence[Path], *, bare_samples: bool) -> list[Path]:
    """The recordings of a command line, at least one.

    ``bare_samples``: standard input has samples without a header. Raises ClientError.
    """
    if bare_samples:
        if any(path != PIPE for path in given):
            text = "--pcm is for standard input, and files are named as well"
            raise ClientError(text, "Pipe the samples: cupola transcribe --pcm 16000 < a.raw")
        return [PIPE]
    if not given:
        raise ClientError("There is nothing to transcribe", "Name a file: cupola transcribe a.wav")
    if list(given).count(PIPE) > 1:
        raise ClientError("Standard input is named twice", "Name '-' once")
    return [path for each in given for path in _files(each)]


def _files(path: Path) -> Iterator[Path]:
    if path == PIPE or (path.exists() and not path.is_dir()):  # a pipe with a name is no file
        yield path
        return
    if not path.is_dir():
        raise ClientError(f"There is no file {path}")
    try:
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in SOUNDS)
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        endings = ", ".join(sorted(ending.removeprefix(".") for ending in SOUNDS))
        raise ClientError(f"There is no recording in {path}", f"Looked for are {endings}")
    yield from found
