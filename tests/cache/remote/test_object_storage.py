"""Files of object storage, through fsspec. Its storage in memory stands for the real ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cupola.cache.errors import DeniedError, FetchError, NotFoundError, UnsupportedError
from cupola.cache.model_address import StorageAddress
from cupola.cache.remote import object_storage
from cupola.cache.remote.object_storage import list_objects, load_objects

CONTENT = random.Random(1).randbytes(100_000)
FOLDER = StorageAddress("s3", "bucket/models/tiny/")


class Storage(MemoryFileSystem):  # type: ignore[misc]
    """``fail``: raised by the read of a range after so many."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    fail: tuple[int, Exception] | None = None
    reads: list[tuple[str, int]] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("s3://", "memory://")))

    def cat_file(self, path: str, start: int = 0, end: int = 0, **options: Any) -> bytes:
        Storage.reads.append((path, start))
        if Storage.fail and len(Storage.reads) > Storage.fail[0]:
            raise Storage.fail[1]
        return bytes(super().cat_file(path, start=start, end=end))


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    fsspec.register_implementation("s3", Storage, clobber=True)
    monkeypatch.setattr(object_storage, "_BLOCK", 30_000)
    monkeypatch.setattr(object_storage, "_SAVED_EVERY", 1)
    storage = Storage()
    storage.pipe_file("/bucket/models/tiny/genai_config.json", b"{}")
    storage.pipe_file("/bucket/models/tiny/model.onnx.data", CONTENT)
    storage.pipe_file("/bucket/models/tiny/sub/empty.txt", b"")
    storage.pipe_file("/bucket/models/other/x.gguf", b"?")
    yield storage
    Storage.store.clear()
    Storage.reads.clear()
    Storage.fail = None


def test_a_folder(storage: Storage, tmp_path: Path) -> None:
    files = list_objects(FOLDER)
    names = {"genai_config.json": 2, "model.onnx.data": 100_000, "sub/empty.txt": 0}
    assert {file.path: file.size for file in files} == names
    seen: list[tuple[str, int, int | None]] = []
    load_objects(FOLDER, files, tmp_path, lambda *report: seen.append(report))
    assert (tmp_path / "model.onnx.data").read_bytes() == CONTENT
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == {*names}
    assert seen[-1] == ("download", 100_002, 100_002)


def test_a_file(storage: Storage, tmp_path: Path) -> None:
    address = StorageAddress("s3", "bucket/models/other/x.gguf")
    [file] = list_objects(address)
    assert (file.path, file.size) == ("x.gguf", 1)
    load_objects(address, [file], tmp_path)
    assert (tmp_path / "x.gguf").read_bytes() == b"?"


def test_it_goes_on_where_it_ended(storage: Storage, tmp_path: Path) -> None:
    files = [file for file in list_objects(FOLDER) if file.size == len(CONTENT)]
    Storage.fail = (2, OSError("the network has gone"))
    with pytest.raises(FetchError, match="the network has gone"):
        load_objects(FOLDER, files, tmp_path)
    assert not (tmp_path / "model.onnx.data").exists()
    Storage.fail = None
    Storage.reads.clear()
    load_objects(FOLDER, files, tmp_path)
    assert (tmp_path / "model.onnx.data").read_bytes() == CONTENT
    assert [start for _, start in Storage.reads] == [60_000, 90_000]


def test_an_object_that_changed_is_begun_again(storage: Storage, tmp_path: Path) -> None:
    files = [file for file in list_objects(FOLDER) if file.size == len(CONTENT)]
    Storage.fail = (2, OSError("gone"))
    with pytest.raises(FetchError):
        load_objects(FOLDER, files, tmp_path)
    Storage.fail = None
    storage.pipe_file("/bucket/models/tiny/model.onnx.data", CONTENT[::-1])
    load_objects(FOLDER, files, tmp_path)
    assert (tmp_path / "model.onnx.data").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (FileNotFoundError("x"), NotFoundError, "is not there"),
        (PermissionError("x"), DeniedError, "Check the keys"),
        (ValueError("line\nother"), FetchError, ": line$"),
        (RuntimeError(), FetchError, ": RuntimeError$"),
    ],
)
def test_failures_name_the_address(
    storage: Storage, tmp_path: Path, error: Exception, kind: type[FetchError], text: str
) -> None:
    files = list_objects(FOLDER)
    Storage.fail = (0, error)
    with pytest.raises(kind, match=text) as caught:
        load_objects(FOLDER, files, tmp_path)
    assert "s3://bucket/models/tiny/" in str(caught.value)


def test_what_is_not_there(storage: Storage) -> None:
    assert list_objects(StorageAddress("s3", "bucket/none")) == []


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str) -> None:
        raise ImportError("Install gcsfs", name="gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UnsupportedError, match=r"gcsfs.*cupola\[storage\]"):
        list_objects(StorageAddress("gs", "b/x"))
