"""Changing one line of the settings' file, and where the models lie."""

from __future__ import annotations

import errno
import os
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


def test_a_table_is_not_a_setting_that_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "cupola.toml"
    file.write_text("[[workers]]\nthreads = 2\n")
    with pytest.raises(ClientError, match="cannot be changed"):
        settings_file.drop(file, "workers")


TABLES = """\
# mine
port = 8080
note = \'\'\'
[no table]
slots = 1
# no comment

\'\'\'
names = [
  ["a", "b"],
]  # last

# what names mean
[aliases]
slots = "x"

[[workers]]
threads = 2
"""


@pytest.mark.parametrize("table", ["[aliases]", "  [ a . 'b]' ]  # c", "[[workers]]"])
@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("", ""),
        ("port = 1\n", ""),
        ("port = 1\n", "\n\n# of the table\n#\n"),
        ("# of the file\n", "\n"),
        ("", "# of the table\n"),
        ("note = '''\n\n# no comment'''\n", ""),
        ('note = """\n[x]\n\n# no comment"""\n', "\n"),
        ("note = [\n[1],\n# one\n]\n", "# of the table\n"),
    ],
)
def test_a_new_setting_stands_before_the_first_table(
    tmp_path: Path, above: str, below: str, table: str
) -> None:
    file = tmp_path / "cupola.toml"
    file.write_text(f'{above}{below}{table}\nslots = "x"')
    settings_file.put(file, "slots", 8)
    assert file.read_text() == f'{above}slots = 8\n{below}{table}\nslots = "x"'
    settings_file.put(file, "slots", 9)
    assert file.read_text() == f'{above}slots = 9\n{below}{table}\nslots = "x"'
    assert settings_file.drop(file, "slots")
    assert not settings_file.drop(file, "slots")
    assert file.read_text() == f'{above}{below}{table}\nslots = "x"'


def test_what_only_looks_like_the_setting_stays(tmp_path: Path) -> None:
    file = tmp_path / "cupola.toml"
    file.write_text(TABLES)
    for key in ("slots", "threads"):
        assert not settings_file.drop(file, key)
    settings_file.put(file, "threads", 4)
    assert file.read_text() == TABLES.replace("# last\n", "# last\nthreads = 4\n")


def test_line_ends_and_marks_in_texts_stay(tmp_path: Path) -> None:
    file = tmp_path / "cupola.toml"
    file.write_bytes('note = "a\u2028b"\r\n"port" = 1\r\n[aliases]\r\n'.encode())
    settings_file.put(file, "slots", 2)
    settings_file.put(file, "port", 3)
    assert file.read_bytes().decode() == (
        'note = "a\u2028b"\r\nport = 3\r\nslots = 2\r\n[aliases]\r\n'
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has other modes, and links need a right")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_file_keeps_its_mode_and_a_link_its_target(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, file = folder / "real.toml", tmp_path / "cupola.toml"
    file.symlink_to(target)
    settings_file.put(file, "port", 1)  # makes what the link names
    target.chmod(mode)
    for act in (
        lambda: settings_file.put(file, "slots", 2),
        lambda: settings_file.drop(file, "port"),
    ):
        act()
        assert file.is_symlink()
        assert target.stat().st_mode & 0o777 == mode
    assert target.read_text() == "slots = 2\n"
    assert [path.name for path in folder.iterdir()] == ["real.toml"]


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

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ClientError, match=r"cupola\.toml cannot be written: No space left"):
        settings_file.put(file, "port", 2)
    assert file.read_text() == "port = 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cupola.toml"]
