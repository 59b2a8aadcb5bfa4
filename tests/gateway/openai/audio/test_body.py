"""Fields of a form have the types that JSON would give them, and wrong ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.multipart import Form
from cupola.gateway.openai.audio.body import TranscriptionForm, TranslationForm, form_values
from cupola.gateway.openai.audio.sound_path import read_sound


def read(fields: dict[str, list[str]]) -> TranscriptionForm:
    form = Form({"model": ["w"]} | fields, {"file": b"x"})
    return TranscriptionForm.model_validate(form_values(form))


def test_a_form_becomes_a_task() -> None:
    body = read(
        {
            "language": ["en-US"],
            "prompt": ["names"],
            "temperature": ["0.5"],
            "seed": ["7"],
            "stream": ["true"],
            "include[]": ["logprobs"],
            "timestamp_granularities[]": ["segment"],
            "condition_on_previous_text": ["1"],
            "response_format": ["verbose_json"],
        }
    )
    task = body.task(body.file)
    assert (task.audio, task.language, task.prompt) == (b"x", "en", "names")
    assert (task.temperature, task.seed, task.condition, task.logprobs) == (0.5, 7, True, True)
    assert body.stream is True
    translation = TranslationForm(model="w", file=b"x")
    assert translation.task(b"x").translate is True


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": ["hot"]}, "temperature"),
        ({"temperature": ["1.5"]}, "temperature"),
        ({"temperature": ["nan"]}, "temperature"),
        ({"stream": ["maybe"]}, "stream"),
        ({"response_format": ["pdf"]}, "response_format"),
        ({"timestamp_granularities[]": ["segment", "word"]}, "verbose_json"),
        ({"timestamp_granularities[]": ["letter"]}, "timestamp_granularities"),
        ({"include": ["everything"]}, "include"),
        ({"known_speaker_names[]": ["Ann"]}, "speakers"),
        ({"languag": ["en"]}, "did you mean 'language'"),
        ({"model": [""]}, "model"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, list[str]], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        read(fields)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("en", "en"),
        ("en-US", "en"),
        ("zh_Hant", "zh"),
        ("English", "en"),
        ("haitian creole", "ht"),
        ("xx", "xx"),
    ],
)
def test_a_language_is_a_code_or_the_name_in_answers(said: str, code: str) -> None:
    assert read({"language": [said]}).language == code


def test_a_file_that_is_sent_as_a_field_is_missing() -> None:
    values: dict[str, Any] = form_values(Form({"model": ["w"], "file": ["text"]}, {}))
    with pytest.raises(ValidationError, match="file"):
        TranscriptionForm.model_validate(values)


def test_a_file_below_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"sound")
    assert read_sound("a.wav", str(tmp_path / "in"), 10) == b"sound"
    assert read_sound(str(tmp_path / "in" / "a.wav"), str(tmp_path / "in"), 10) == b"sound"
    with pytest.raises(ApiError) as refused:
        read_sound("a.wav", str(tmp_path / "in"), 4)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "name", ["../secret", "link", "deep/../../secret", "missing", ".", "a\0b", "/etc/passwd"]
)
def test_a_file_elsewhere_is_as_if_it_were_not_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ApiError) as refused:
        read_sound(name, str(folder), 100)
    assert (refused.value.status, refused.value.code) == (400, "invalid_value")
    assert "secret" not in refused.value.message


def test_without_a_folder_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    with pytest.raises(ApiError, match="multipart") as refused:
        read_sound(str(tmp_path / "a.wav"), "", 100)
    assert refused.value.status == 403
