"""Settings: which source wins, and what a wrong key or value is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.client import home as client_home
from cupola.service.settings.settings import Settings, SettingsError
from cupola.service.settings.sources import DEFAULT, environment, load
from cupola.service.settings.texts import (
    Group,
    allowed,
    default,
    flag,
    group,
    in_group,
    meaning,
    summary,
    variable,
)

WriteToml = Callable[[str], Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own, and no variable of the machine's."""
    for name in os.environ:
        if name.upper().startswith("CUPOLA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def toml(home: Path) -> WriteToml:
    def write(text: str) -> Path:
        file = home / "cupola.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def refusal(flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags)
    return str(caught.value)


def test_defaults() -> None:
    resolved = load()
    assert resolved.settings == Settings(home=resolved.settings.home)
    assert {source for key, source in resolved.sources.items() if key != "home"} == {DEFAULT}


def test_file_then_environment_then_flag(toml: WriteToml, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml("port = 1001\nslots = 2\nthreads = 3\n")
    monkeypatch.setenv("CUPOLA_PORT", "1002")
    monkeypatch.setenv("CUPOLA_SLOTS", "4")
    resolved = load({"port": 1003, "host": None})
    assert (resolved.settings.port, resolved.settings.slots, resolved.settings.threads) == (
        1003,
        4,
        3,
    )
    expected = {"port": "--port", "slots": "CUPOLA_SLOTS", "threads": str(file), "host": DEFAULT}
    assert {key: resolved.sources[key] for key in expected} == expected


def test_the_file_is_in_the_folder_that_the_flag_names(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "cupola.toml").write_text("port = 99")
    resolved = load({"home": other})
    assert resolved.settings.port == 99
    assert resolved.settings.home == other
    assert resolved.sources["home"] == "--home"


def test_the_home_of_the_client_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_home.current().root == load().settings.home
    monkeypatch.setenv("CUPOLA_HOME", "~/elsewhere")
    assert client_home.current().root == load().settings.home
    monkeypatch.delenv("CUPOLA_HOME")
    assert client_home.current().root == load().settings.home == Path.home() / ".foundry"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("port", "http"),
        ("slots", 0),
        ("slots", "many"),
        ("slots", "1025"),
        ("slots", 1.5),
        ("queue_timeout", 0),
        ("model_ttl", -2),
        ("model_ttl", -0.5),
        ("model_ttl", float("nan")),
        ("max_body_bytes", 1),
        ("log_level", "loud"),
        ("backend", "torch"),
        ("workers", ""),
        ("workers", "0"),
        ("workers", "65"),
        ("workers", "gpu:0"),
        ("workers", "cpu:0,,cpu:0"),
        ("host", ""),
        ("home", ""),
        ("threads", True),
    ],
)
def test_a_wrong_value_is_told_with_its_source(key: str, value: object) -> None:
    text = refusal({key: value})
    assert key in text
    assert flag(key) in text
    assert allowed(key) in text


def test_a_text_that_must_not_be_empty() -> None:
    assert refusal({"host": ""}).endswith("it must be text that is not empty")


def test_the_source_of_a_wrong_value(toml: WriteToml, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml("slots = 0\n")
    monkeypatch.setenv("CUPOLA_PORT", "many")
    lines = refusal().splitlines()
    assert lines == [
        "port = 'many' (CUPOLA_PORT) is not allowed: it must be a whole number from 0 up to 65535",
        f"slots = 0 ({file}) is not allowed: it must be 'auto' or a whole number from 1 up to 1024",
    ]


def test_an_unknown_key_is_told_with_near_names(
    toml: WriteToml, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--prot" in refusal({"prot": 1})
    assert "did you mean --port?" in refusal({"prot": 1})
    file = toml("back_end = 'x'")
    assert refusal() == f"back_end ({file}) is not a setting; did you mean backend?"
    monkeypatch.setenv("CUPOLA_PROT", "1")
    assert refusal() == (
        "CUPOLA_PROT (the environment) is not a setting; did you mean CUPOLA_PORT?"
    )


def test_an_unknown_key_like_no_other_lists_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPOLA_XYZZY", "1")
    assert all(variable(key) in refusal() for key in Settings.model_fields)


def test_variables_that_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPOLA_TEST_CACHE", "x")
    monkeypatch.setenv("CUPOLA_TESTS_REQUIRE_CLIENTS", "1")
    monkeypatch.setenv("CUPOLA_PEERS", "x")
    load()


def test_the_file_cannot_move_the_folder_it_is_in(toml: WriteToml) -> None:
    file = toml("home = '/tmp'")
    assert refusal().startswith(f"home ({file}) cannot be set in the file that it leads to")
    assert "CUPOLA_HOME" in refusal() and "--home" in refusal()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("slots = 1.5", "slots"),
        ("slots = [1]", "slots"),
        ("[workers]\ncount = 2", "workers"),
        ("workers = [1, 2]", "workers"),
        ("catalogs = [1]", "catalogs"),
        ("catalogs = ['a', ['b']]", "catalogs"),
        ("preload = ['a', true]", "preload"),
        ("cors_origins = [1.5]", "cors_origins"),
        ("[aliases]\na = 3", "aliases"),
        ("[aliases]\na = ['b']", "aliases"),
        ("[aliases]\n'a=b' = 'c'", "aliases"),
        ("[aliases.a]\nb = 'c'", "aliases"),
        ("aliases = 3", "aliases"),
        ("aliases = ['a']", "aliases"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_one_line(
    toml: WriteToml, text: str, key: str
) -> None:
    file = toml(text)
    [line] = refusal().splitlines()
    assert line.startswith(f"{key} = ")
    assert line.endswith(f" ({file}) is not allowed: it must be {allowed(key)}")


def test_a_list_of_pairs_is_as_good_as_a_table(toml: WriteToml) -> None:
    toml("aliases = ['a=b', 'c=d']")
    of_list = load().settings
    toml("[aliases]\na = 'b'\nc = 'd'")
    assert load().settings == of_list


def test_a_broken_file_is_named(toml: WriteToml) -> None:
    file = toml("port = [")
    assert str(file) in refusal()
    file.write_bytes(b"model = '\xff'")
    assert str(file) in refusal()


@pytest.mark.parametrize(
    ("workers", "devices"),
    [
        ("cpu:0", ("cpu:0",)),
        ("2", ("cpu:0", "cpu:0")),
        ("cpu,cuda", ("cpu:0", "cuda:0")),
        ("cpu:0, cpu:0 ,cuda:1", ("cpu:0", "cpu:0", "cuda:1")),
        ("dml,tensorrt_rtx:1", ("dml:0", "tensorrt_rtx:1")),
    ],
)
def test_devices(workers: str, devices: tuple[str, ...]) -> None:
    assert Settings(workers=workers).devices == devices


def test_workers_in_the_file_may_be_a_number_or_a_list(toml: WriteToml) -> None:
    toml("workers = 3")
    assert load().settings.devices == ("cpu:0",) * 3
    toml('workers = ["cpu:0", "cuda:0"]')
    assert load().settings.devices == ("cpu:0", "cuda:0")


def test_flags_travel_as_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"port": 0, "model": "", "model_ttl": -1.0, "workers": None}
    handed = environment(flags)
    assert handed == {"CUPOLA_PORT": "0", "CUPOLA_MODEL": "", "CUPOLA_MODEL_TTL": "-1.0"}
    expected = load(flags).settings
    for name, value in handed.items():
        monkeypatch.setenv(name, value)
    assert load().settings == expected


def test_every_setting_says_what_it_is() -> None:
    groups = [group(key) for key in Settings.model_fields]
    assert groups == sorted(groups, key=list(Group).index)  # the class reads group by group
    for key in Settings.model_fields:
        assert meaning(key).endswith("."), key
        assert 5 < len(summary(key)) <= 90, key
        assert key in in_group(group(key))


def test_every_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = Settings(home=tmp_path)
    for key, value in wanted.model_dump().items():
        monkeypatch.setenv(variable(key), str(value))
    resolved = load()
    assert resolved.settings == wanted
    assert dict(resolved.sources) == {key: variable(key) for key in Settings.model_fields}


@pytest.mark.parametrize(
    ("key", "text"),
    [("port", "5273"), ("model_ttl", "600"), ("home", "~/.foundry"), ("uds", "empty")],
)
def test_defaults_in_words(key: str, text: str) -> None:
    assert default(key) == text


def test_paths_travel_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment({"home": "a", "uds": "b"}) == {
        "CUPOLA_HOME": str(tmp_path / "a"),
        "CUPOLA_UDS": str(tmp_path / "b"),
    }
    assert environment({"uds": ""}) == {"CUPOLA_UDS": ""}
