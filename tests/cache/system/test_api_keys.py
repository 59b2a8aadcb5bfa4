"""The file of API keys: it holds no key, nobody else reads it, and changes are whole."""

from __future__ import annotations

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cupola.cache.system.api_keys import (
    ApiKey,
    KeyFile,
    KeyFileError,
    digest,
    matching,
    new_key,
)


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "home" / "keys.json")
    key = new_key()
    file.add(ApiKey("laptop", digest(key)))
    text = file.path.read_text("utf-8")
    assert key not in text and key.removeprefix("cupola-") not in text
    found = matching(file.read(), key)
    assert found is not None and found.name == "laptop"


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes of files")
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    for name in ("one", "two"):
        file.add(ApiKey(name, digest(new_key())))
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_name_is_used_once(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.add(ApiKey("one", digest("first")))
    with pytest.raises(KeyFileError, match="'one' already"):
        file.add(ApiKey("one", digest("second")))
    file.remove("one")
    with pytest.raises(KeyFileError, match="No key is called 'one'"):
        file.remove("one")
    assert file.read() == []


def test_changes_at_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    names = {f"key {number}" for number in range(20)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: KeyFile(path).add(ApiKey(name, digest(name))), names))
    assert {key.name for key in KeyFile(path).read()} == names


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"name": "x"}]', "\x00"])
def test_a_file_that_cannot_be_understood_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        KeyFile(path).read()


def test_every_key_is_another_one() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert min(len(new_key()) for _ in range(10)) >= 43


@pytest.mark.parametrize("given", ["", "cupola-", "x" * 10_000, "\udcff"])
def test_what_is_no_key_matches_none(given: str) -> None:
    assert matching([ApiKey("one", digest(new_key()))], given) is None


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [((), True), (("qwen*",), True), (("QWEN2.5-0.5b",), True), (("smollm*",), False)],
)
def test_models_are_allowed_by_id_or_alias(patterns: tuple[str, ...], allowed: bool) -> None:
    key = ApiKey("one", "", models=patterns)
    assert key.may_use("qwen2.5-0.5b-instruct-generic-cpu:1", "qwen2.5-0.5b") is allowed
