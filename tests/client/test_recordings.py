"""Which recordings a command line names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cupola.client.errors import ClientError
from cupola.client.recordings import PIPE, named


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.WAV", "a.mp3", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_files_and_folders_in_their_order(folder: Path) -> None:
    given = [folder / "notes.txt", folder, PIPE]
    found = named(given, bare_samples=False)
    assert found == [folder / "notes.txt", folder / "a.mp3", folder / "b.WAV", PIPE]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_with_a_name_is_a_recording(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert named([folder / "pipe"], bare_samples=False) == [folder / "pipe"]


@pytest.mark.parametrize("given", [[], [PIPE]])
def test_bare_samples_come_from_standard_input(given: list[Path]) -> None:
    assert named(given, bare_samples=True) == [PIPE]


@pytest.mark.parametrize(
    ("names", "bare_samples", "said"),
    [
        ([], False, "nothing to transcribe"),
        (["missing.wav"], False, "no file .*missing.wav"),
        (["empty"], False, "no recording in .*empty"),
        (["a.mp3"], True, "for standard input"),
    ],
)
def test_what_cannot_be_meant_is_named(
    folder: Path, names: list[str], bare_samples: bool, said: str
) -> None:
    with pytest.raises(ClientError, match=said):
        named([folder / name for name in names], bare_samples=bare_samples)


def test_standard_input_can_be_read_only_once() -> None:
    with pytest.raises(ClientError, match="twice"):
        named([PIPE, PIPE], bare_samples=False)
