"""Sound files of many kinds become the same samples."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cupola.workers.model.backend import RequestError
from cupola.workers.model.render_budget import CancelledError
from cupola.workers.speech.audio_file import read_audio
from cupola.workers.speech.log_mel import RATE
from tests.sdk.environments import python_with


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype("f4")


def written(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_every_rate_becomes_sixteen_kilohertz(rate: int) -> None:
    found = read_audio(written(tone(rate), rate, "WAV"))
    assert abs(len(found) - RATE) <= 2
    middle = slice(2000, 14_000)
    np.testing.assert_allclose(found[middle], tone(RATE)[middle], atol=5e-3)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [
        ("FLAC", None, 44_100),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("MP3", None, 44_100),
        ("WAV", "PCM_U8", 16_000),
        ("WAV", "PCM_24", 16_000),
        ("WAV", "DOUBLE", 16_000),
        ("WAV", "ULAW", 8000),
        ("AIFF", None, 16_000),
    ],
)
def test_kinds_of_files(kind: str, subtype: str | None, rate: int) -> None:
    found = read_audio(written(tone(rate, 2), rate, kind, subtype))
    assert abs(len(found) - 2 * RATE) < 0.1 * RATE
    spectrum = np.abs(np.fft.rfft(found[:RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 2


def test_channels_are_mixed() -> None:
    channels = np.stack([tone(RATE), *[np.zeros(RATE, np.float32)] * 7], axis=1)
    found = read_audio(written(channels, RATE, "WAV"))
    np.testing.assert_allclose(found, tone(RATE) / 8, atol=1e-3)


def test_values_that_are_no_numbers_are_silence() -> None:
    samples = tone(RATE)
    samples[100:200] = np.nan
    samples[300] = np.inf
    found = read_audio(written(samples, RATE, "WAV", "FLOAT"))
    assert np.isfinite(found).all() and not found[100:200].any()


def test_a_recording_of_hours_is_refused_before_it_is_in_memory() -> None:
    silence = written(np.zeros(8000 * 200, np.float32), 8000, "FLAC")
    assert len(silence) < 8000
    assert len(read_audio(silence)) == 200 * RATE
    with pytest.raises(RequestError, match=r"longer than 0\.05 hours"):
        read_audio(silence, limit=180)


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "WAV"])
def test_a_file_that_says_it_is_too_long_is_not_read_first(kind: str) -> None:
    """Who is asked whether the request was cancelled has begun to read."""

    def reads() -> bool:
        raise AssertionError("it is read")

    with pytest.raises(RequestError, match="longer than"):
        read_audio(written(np.zeros(8000 * 3, np.float32), 8000, kind), reads, limit=2)


def test_a_header_that_promises_hours_is_not_believed() -> None:
    samples = written(tone(RATE), RATE, "WAV")
    ten_hours = (10 * 3600 * RATE * 2).to_bytes(4, "little")
    at = samples.index(b"data") + 4
    found = read_audio(samples[:at] + ten_hours + samples[at + 4 :])
    assert len(found) == RATE


def test_reading_is_cancelled() -> None:
    with pytest.raises(CancelledError):
        read_audio(written(tone(RATE), RATE, "WAV"), lambda: True)


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the program: it notes what it is asked, and gives a second of a constant."""
    asked = tmp_path / "asked"
    program = tmp_path / "ffmpeg"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {asked}\n'
        f"for each; do case $each in file:*) ls -l ${{each#file:}};; esac; done >{tmp_path}/mode\n"
        f'head -c 32000 /dev/zero | tr "\\\\0" "\\\\100"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return asked


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("content", "container"),
    [(b"\0\0\0\x18ftypM4A 1234", "mov"), (b"\x1aE\xdf\xa3webm", "matroska")],
)
def test_other_containers_go_to_ffmpeg_which_opens_nothing_else(
    ffmpeg: Path, tmp_path: Path, content: bytes, container: str
) -> None:
    assert len(read_audio(content)) == RATE
    asked = ffmpeg.read_text()
    assert f"-f {container} -i file:" in asked
    (spool,) = re.findall(r"-i file:(\S+)", asked)
    assert (tmp_path / "mode").read_text().startswith("-rw-------") and not Path(spool).exists()
    assert "-protocol_whitelist file,pipe" in asked


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    "content", [b"#EXTM3U\nfile:///etc/passwd", b"ffconcat version 1.0\nfile x", b"<xml/>"]
)
def test_lists_of_other_files_never_reach_ffmpeg(ffmpeg: Path, content: bytes) -> None:
    with pytest.raises(RequestError, match="no sound file"):
        read_audio(content)
    assert not ffmpeg.exists()


@pytest.fixture(scope="session")
def real_ffmpeg(test_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program: that of this machine, or a build from the package index."""
    found = shutil.which("ffmpeg")
    if found is None:
        # The last build of less than 100 MB.
        python = python_with(test_cache, "ffmpeg", ["--no-deps", "imageio-ffmpeg==0.6.0"])
        where = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
        done = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
        found = done.stdout.strip()
    folder = tmp_path_factory.mktemp("ffmpeg")
    (folder / "ffmpeg").symlink_to(found)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="the program is found by a link")
@pytest.mark.parametrize(
    ("ending", "codec"), [("m4a", "aac"), ("webm", "libopus"), ("wma", "wmav2")]
)
def test_the_real_ffmpeg_reads_other_containers(
    real_ffmpeg: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    codec: str,
) -> None:
    monkeypatch.setenv("PATH", f"{real_ffmpeg}{os.pathsep}{os.environ['PATH']}")
    wav, other = tmp_path / "a.wav", tmp_path / f"a.{ending}"
    wav.write_bytes(written(tone(48_000, 2), 48_000, "WAV"))
    command = ["ffmpeg", "-v", "error", "-i", str(wav), "-c:a", codec, str(other)]
    subprocess.run(command, check=True)
    found = read_audio(other.read_bytes())
    assert abs(len(found) - 2 * RATE) < 0.1 * RATE
    assert abs(int(np.abs(np.fft.rfft(found[:RATE])).argmax()) - 440) <= 2
    with pytest.raises(RequestError, match="cannot be transcribed"):
        read_audio(other.read_bytes()[:100])
