"""Changing one line of the settings' file, and where the models lie."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.client import models_folder, settings_file
from cupola.client.errors import ClientError


def test_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "new" / "cupola.toml"
    settings_file.put(file, "port", 8080)
    file.write_text("# mine\n" + file.read_text() + "slots = 3  # few\n")
    settings_file.put(file, "port", 9090)
    settings_file.put(file, "host", 'a "host"')
    assert file.read_text() == '# mine\nport = 9090\nslots = 3  # few\nhost = "a \\"host\\""\n'
    assert settings_file.drop(file, "port")
    assert not settings_file.drop(file, "port")
    assert file.read_text() == '# mine\nslots = 3  # few\nhost = "a \\"host\\""\n'


def test_a_file_that_lines_cannot_change_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "cupola.toml"
    text = 'workers = [\n  "cpu:0",\n]\n'
    file.write_text(text)
    for act in (
        lambda: settings_file.put(file, "workers", "2"),
        lambda: settings_file.drop(file, "workers"),
    ):
        with pytest.raises(ClientError, match="cannot be changed"):
            act()
    assert file.read_text() == text


def test_another_folder_for_the_models_and_back(tmp_path: Path) -> None:
    home, other, third = Home(tmp_path / "home"), tmp_path / "other", tmp_path / "third"
    home.models.mkdir(parents=True)
    (home.models / "a").touch()
    assert models_folder.location(home) == home.models
    models_folder.choose(home, other)
    (home.models / "b").touch()
    (home.downloads / "part").touch()
    assert models_folder.location(home) == other
    assert (other / "b").exists()
    (home.downloads / "part").rename(home.models / "c")  # both are on the same disk
    models_folder.choose(home, third)
    assert models_folder.location(home) == third
    assert models_folder.forget(home)
    assert not models_folder.forget(home)
    assert [path.name for path in home.models.iterdir()] == ["a"]
    with pytest.raises(ClientError, match="inside"):
        models_folder.choose(home, home.models / "deeper")
    models_folder.choose(home, other)
    models_folder.choose(home, home.models)  # the same as to forget the other
    assert [path.name for path in home.models.iterdir()] == ["a"]
    assert not models_folder.is_chosen(home)
    models_folder.choose(home, home.models)
    assert not models_folder.is_chosen(home)


def test_a_full_disk_leaves_the_file_as_it_is_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cupola.toml"
    file.write_text("port = 1\n")

    def full(path: Path, text: str, encoding: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ClientError, match=r"cupola\.toml cannot be written: No space left"):
        settings_file.put(file, "port", 2)
    assert file.read_text() == "port = 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cupola.toml"]
