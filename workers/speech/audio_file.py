"""A sound file's bytes to samples of 16 kHz, one channel.

WAV, FLAC, OGG (Vorbis and Opus), MP3 and others are read by libsndfile. What it does not read goes
to the program ``ffmpeg`` if it is installed, and if the bytes are of a known container: ffmpeg also
reads lists that name other files, and those must not be opened.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable

import numpy as np
import soundfile
import soxr

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.workers.model.backend import RequestError
from cupola.workers.model.render_budget import CancelledError
from cupola.workers.speech.log_mel import RATE, Floats

MAX_SECONDS = 4 * 3600
_MAX_CHANNELS = 64
_BLOCK = 1 << 20  # samples of all channels that are read at once
_UNKNOWN = 1 << 62  # more frames than this: libsndfile does not know how many there are
_FFMPEG_SECONDS = 600.0
# ffmpeg's name of a container, by the place and the bytes of its mark.
_CONTAINERS = (
    (4, b"ftyp", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
)


def read_audio(
    content: bytes, cancelled: Callable[[], bool] = lambda: False, limit: int = MAX_SECONDS
) -> Floats:
    """The samples, of at most ``limit`` seconds.

    Raises RequestError for what is no sound, CancelledError.
    """
    if not content:
        raise _refused("the file is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            return _read(file, cancelled, limit)
    except soundfile.LibsndfileError as error:
        container = next((n for at, mark, n in _CONTAINERS if content.startswith(mark, at)), "")
        if not container:
            raise _refused(f"it is no sound file that can be read ({error.error_string})") from None
    return _by_ffmpeg(content, container, cancelled, limit)


def _read(file: soundfile.SoundFile, cancelled: Callable[[], bool], limit: int) -> Floats:
    if file.channels > _MAX_CHANNELS:
        raise _refused(f"it has {file.channels} channels, and {_MAX_CHANNELS} is the most")
    # Where the file says how long it is, hours need not be read first.
    if file.frames < _UNKNOWN and file.frames > limit * file.samplerate:
        raise _too_long(limit)
    resample = soxr.ResampleStream(file.samplerate, RATE, 1, "float32")
    whole = file.samplerate == RATE
    pieces: list[Floats] = []
    seconds = 0.0
    while True:
        if cancelled():
            raise CancelledError
        block = file.read(max(1, _BLOCK // file.channels), "float32", always_2d=True)
        seconds += len(block) / file.samplerate
        if seconds > limit:
            raise _too_long(limit)
        mono = np.nan_to_num(block.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0)
        pieces.append(mono if whole else resample.resample_chunk(mono, last=not len(block)))
        if not len(block):
            return np.concatenate(pieces)


def _by_ffmpeg(content: bytes, container: str, cancelled: Callable[[], bool], limit: int) -> Floats:
    program = shutil.which("ffmpeg")
    if program is None:
        text = (
            "this kind of file needs the program ffmpeg, which is not installed on the server; "
            "install it, or send WAV, FLAC, OGG or MP3"
        )
        raise _refused(text)
    # The end of such a file may say how to read its beginning, so a pipe would not do.
    with tempfile.NamedTemporaryFile(prefix="cupola-audio-") as spool:
        spool.write(content)
        spool.flush()
        command = [
            *(program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
            *("-f", container, "-i", f"file:{spool.name}", "-vn", "-sn", "-dn"),
            *("-t", str(limit + 1), "-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1"),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_FFMPEG_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            raise _refused("ffmpeg could not read it in time") from None
    if cancelled():
        raise CancelledError
    samples = np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")
    if done.returncode and not len(samples):
        raise _refused("ffmpeg finds no sound in it")
    if len(samples) > limit * RATE:
        raise _too_long(limit)
    return samples.astype(np.float32) / np.float32(32768)


def _too_long(limit: int) -> RequestError:
    return _refused(f"it is longer than {limit / 3600:g} hours; cut it into parts")


def _refused(why: str) -> RequestError:
    text = f"the audio cannot be transcribed: {why}"
    return RequestError(ErrorCode.INVALID_REQUEST, text, "audio")
