"""Files arrive whole and right, or not at all, whatever a server does."""

from __future__ import annotations

import errno
import gc
import hashlib
import inspect
import os
import random
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.cache.errors import (
    DeniedError,
    FetchError,
    HashMismatchError,
    NotFoundError,
    UnreachableError,
)
from cupola.cache.remote import transfer
from cupola.cache.remote.partial_file import PartialFile
from cupola.cache.remote.pieces import Piece
from cupola.cache.remote.rate_limit import RateLimit
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.remote.retry import ATTEMPTS
from cupola.cache.remote.transfer import CONNECTIONS, load
from tests import faulty_server as faults
from tests.faulty_server import Fault, Site

CONTENT = random.Random(1).randbytes(10_000)
OTHER = random.Random(2).randbytes(9_000)
PIECE = 3000  # bytes: the file has four


def served(site: Site, content: bytes = CONTENT) -> str:
    site.files["/file"] = content
    return site.url + "/file"


def hashed(site: Site, content: bytes = CONTENT) -> RemoteFile:
    """The file as the hub describes it."""
    digest = hashlib.sha256(content).hexdigest()
    return RemoteFile("folder/file.bin", served(site, content), len(content), digest)


def plain(site: Site) -> RemoteFile:
    """The file as a URL: nothing is known of it."""
    return RemoteFile("folder/file.bin", served(site))


def fetch(file: RemoteFile, folder: Path) -> bytes:
    """The content; nothing else may be left in the folder."""
    [path] = load([file], folder, piece_size=PIECE)
    assert [each for each in folder.rglob("*") if each.is_file()] == [path]
    return path.read_bytes()


@pytest.fixture(params=[hashed, plain])
def file(request: pytest.FixtureRequest, site: Site) -> RemoteFile:
    made: RemoteFile = request.param(site)
    return made


MISBEHAVIOURS: dict[str, list[Fault]] = {
    "none": [],
    "no ranges": [faults.no_ranges] * 8,
    "no ranges at last": [lambda request: False, lambda request: False, faults.no_ranges],
    "another range": [faults.other_range],
    "no range named": [faults.no_content_range],
    "cut": [faults.cut_after(1), faults.cut_after(1000), faults.cut_after(0)],
    "cut again and again": [faults.cut_after(700)] * 12,
    "longer": [faults.longer] * 3,
    "gzip": [faults.gzipped] * 8,
    "gzip of a range": [faults.gzipped_range],
    "hang up": [faults.hang_up] * (ATTEMPTS - 2),
    "408": [faults.status(408)],
    "429": [faults.status(429, Retry_After="1")] * 3,
    "500": [faults.status(500)] * 2,
    "503": [faults.status(503, Retry_After="0")] * 3,
    "all": [
        faults.status(502),
        faults.cut_after(10),
        faults.other_range,
        faults.hang_up,
        faults.cut_after(100),
        faults.status(429),
    ],
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_file_arrives(site: Site, file: RemoteFile, name: str, tmp_path: Path) -> None:
    site.faults["/file"] = list(MISBEHAVIOURS[name])
    assert fetch(file, tmp_path) == CONTENT


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1])
@pytest.mark.parametrize("describe", [hashed, lambda site, content: plain(site)])
def test_sizes(
    site: Site, tmp_path: Path, size: int, describe: Callable[[Site, bytes], RemoteFile]
) -> None:
    file = describe(site, CONTENT[:size])
    served(site, CONTENT[:size])
    assert fetch(file, tmp_path) == CONTENT[:size]


def test_several_files_at_once(site: Site, tmp_path: Path) -> None:
    files = []
    for number in range(20):
        content = CONTENT[: number * 400]
        site.files[f"/{number}"] = content
        digest = hashlib.sha256(content).hexdigest()
        files.append(RemoteFile(f"{number}", f"{site.url}/{number}", len(content), digest))
    seen: list[tuple[str, int, int | None]] = []
    paths = load(files, tmp_path, lambda *report: seen.append(report), piece_size=PIECE)
    assert [path.read_bytes() for path in paths] == [CONTENT[: n * 400] for n in range(20)]
    loading = [done for stage, done, _ in seen if stage == "download"]
    assert loading == sorted(loading) and loading[0] == 0
    assert loading[-1] == sum(n * 400 for n in range(20))
    assert {total for stage, _, total in seen if stage == "download"} == {loading[-1]}


def test_a_file_that_changes_is_begun_again(site: Site, tmp_path: Path) -> None:
    file = plain(site)
    site.faults["/file"] = [lambda request: False] * 3 + [faults.instead(OTHER)]
    assert fetch(file, tmp_path) == OTHER


def test_a_file_that_always_changes_is_given_up(site: Site, tmp_path: Path) -> None:
    file = plain(site)
    changes = [CONTENT[:-n] for n in range(1, 200)]
    site.faults["/file"] = [faults.instead(each) for each in changes]
    with pytest.raises(FetchError, match="changes on"):
        fetch(file, tmp_path)


def test_a_digest_decides(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    site.faults["/file"] = [faults.damaged]
    with pytest.raises(HashMismatchError, match="not the file that was expected"):
        fetch(file, tmp_path)
    assert not list(tmp_path.rglob("*.bin*"))
    assert fetch(file, tmp_path) == CONTENT


def test_a_file_of_another_size_is_not_the_one(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    site.files["/file"] = OTHER
    with pytest.raises(HashMismatchError, match="9000 bytes"):
        fetch(file, tmp_path)


def test_a_file_of_git_is_checked_by_its_own_digest(site: Site, tmp_path: Path) -> None:
    digest = hashlib.sha1(b"blob 10000\0" + CONTENT).hexdigest()
    file = RemoteFile("file.json", served(site), len(CONTENT), git_sha1=digest)
    site.faults["/file"] = [faults.damaged]
    with pytest.raises(HashMismatchError):
        fetch(file, tmp_path)
    assert fetch(file, tmp_path) == CONTENT


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (faults.status(404), NotFoundError, "404 Not Found"),
        (faults.status(410), NotFoundError, "410 Gone"),
        (faults.status(401), DeniedError, "401 Unauthorized"),
        (faults.status(403, X_Error_Message="Gated!"), DeniedError, r"403 Forbidden \(Gated!\)"),
        (faults.status(400), FetchError, "400 Bad Request"),
    ],
)
def test_answers_that_no_other_try_changes(
    site: Site, file: RemoteFile, tmp_path: Path, fault: Fault, error: type[FetchError], text: str
) -> None:
    site.faults["/file"] = [fault] * 100
    with pytest.raises(error, match=text) as caught:
        fetch(file, tmp_path)
    assert "folder/file.bin" in str(caught.value)
    assert len(site.requests) <= 6  # one a connection


@pytest.mark.parametrize(
    "fault", [faults.status(500), faults.hang_up, faults.other_range, faults.cut_after(0)]
)
def test_patience_ends(site: Site, tmp_path: Path, fault: Fault) -> None:
    file = hashed(site)
    site.faults["/file"] = [fault] * 1000
    with pytest.raises(FetchError):
        fetch(file, tmp_path)
    assert len(site.requests) <= 6 * ATTEMPTS


def test_a_server_that_wants_a_long_pause_is_asked_another_day(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    site.faults["/file"] = [faults.status(429, Retry_After="100000")] * 100
    with pytest.raises(FetchError, match="429"):
        fetch(file, tmp_path)


def test_nobody_answers(tmp_path: Path) -> None:
    with Site() as site:
        file = hashed(site)
    with pytest.raises(UnreachableError, match="Check the network and the proxy"):
        fetch(file, tmp_path)


def test_redirects_are_followed_without_the_token(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    with Site() as storage:
        storage.files["/blob?signed=yes"] = CONTENT
        site.answers["/file"] = faults.redirect(f"{storage.url}/blob?signed=yes")  # type: ignore[assignment]
        token = {"Authorization": "Bearer secret"}
        [path] = load([file], tmp_path, headers=token, piece_size=PIECE)
        assert path.read_bytes() == CONTENT
        assert {headers["Authorization"] for _, headers in site.requests} == {"Bearer secret"}
        assert not [headers for _, headers in storage.requests if "Authorization" in headers]
        assert storage.requests


def test_a_proxy_of_the_environment_is_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", site.url)
    site.files["http://models.invalid/file"] = CONTENT
    [path] = load([RemoteFile("f", "http://models.invalid/file")], tmp_path, piece_size=PIECE)
    assert path.read_bytes() == CONTENT


# The HTTP library leaves connections open whose handshake has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_certificates_of_the_environment_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    file = tmp_path / "certificate.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=t"
    name, key = ("-addext", "subjectAltName=IP:127.0.0.1"), tmp_path / "key.pem"
    command = [openssl, *made.split(), *name, "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes(file.read_bytes() + key.read_bytes())
    # The tests share a context that knows nothing of the environment.
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))
    with Site(certificate=both) as site:
        with pytest.raises(UnreachableError, match="SSL_CERT_FILE"):
            fetch(hashed(site), tmp_path / "without")
        gc.collect()  # those connections, of which the next test would be told
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert fetch(hashed(site), tmp_path / "with") == CONTENT


def test_redirects_in_circles(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    site.answers["/file"] = faults.redirect("/file")  # type: ignore[assignment]
    with pytest.raises(FetchError, match="in circles"):
        fetch(file, tmp_path)


def test_redirects_to_files_of_this_machine(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    file = hashed(site)
    site.answers["/file"] = faults.redirect((tmp_path / "secret").as_uri())  # type: ignore[assignment]
    with pytest.raises(FetchError, match="to no web address"):
        fetch(file, tmp_path / "folder")
    assert len(site.requests) <= CONNECTIONS  # nobody tries again


@pytest.mark.parametrize(
    "path",
    ["../up", "/absolute", "a/../../b", "a\\..\\b", "C:/x", "", ".", "..", "a\0b", "\x1b[2J"],
)
def test_paths_stay_in_the_folder(site: Site, tmp_path: Path, path: str) -> None:
    with pytest.raises(FetchError, match="unsafe path"):
        load([RemoteFile(path, served(site))], tmp_path / "folder")
    assert not list(tmp_path.rglob("*"))


def test_what_is_there_is_not_loaded_again(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    assert fetch(file, tmp_path) == CONTENT
    site.requests.clear()
    assert fetch(file, tmp_path) == CONTENT
    assert site.requests == []


def test_a_broken_download_goes_on(
    site: Site, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CONNECTIONS", 1)  # others' pieces would be cut with its own
    after = 3 if file.size is None else 2
    site.faults["/file"] = [lambda request: False] * after + [faults.status(400)] * 100
    with pytest.raises(FetchError):
        load([file], tmp_path, piece_size=PIECE)
    assert not (tmp_path / "folder" / "file.bin").exists()
    site.faults["/file"].clear()
    site.requests.clear()
    assert fetch(file, tmp_path) == CONTENT
    assert len(site.requests) < 4  # pieces: what is there is not loaded again


def test_a_download_that_goes_on_finds_another_file(site: Site, tmp_path: Path) -> None:
    file = plain(site)
    site.faults["/file"] = [lambda request: False] * 3 + [faults.status(400)] * 100
    with pytest.raises(FetchError):
        load([file], tmp_path, piece_size=PIECE)
    site.faults["/file"].clear()
    site.files["/file"] = OTHER
    assert fetch(file, tmp_path) == OTHER


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b'{"url":"","size":10000,"sha256":"","git_sha1":"","md5":"","validator":"","pieces":[[0,10000,9]]}',
    ],
)
def test_notes_that_say_nothing_are_ignored(site: Site, tmp_path: Path, note: bytes) -> None:
    file = hashed(site)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.bin.part").write_bytes(b"rubbish" * 3000)
    (tmp_path / "folder" / "file.bin.part.json").write_bytes(note)
    assert fetch(file, tmp_path) == CONTENT


def test_a_note_that_claims_more_than_is_there_is_ignored(site: Site, tmp_path: Path) -> None:
    file = hashed(site)
    first = PartialFile(file, tmp_path, PIECE)
    first.begin()
    first.write(first.pieces[1], CONTENT[PIECE : 2 * PIECE])
    first.save()
    first.end()
    assert PartialFile(file, tmp_path, PIECE).done == PIECE
    os.truncate(tmp_path / "folder" / "file.bin.part", PIECE + 5)
    assert PartialFile(file, tmp_path, PIECE).done == 0
    assert fetch(file, tmp_path) == CONTENT


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_no_more(
    site: Site, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real, written = PartialFile.write, 0

    def write(partial: PartialFile, piece: Piece, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 5000:
            raise OSError(number, os.strerror(number))
        real(partial, piece, data)

    monkeypatch.setattr(PartialFile, "write", write)
    with pytest.raises(OSError, match=os.strerror(number)):
        load([file], tmp_path, piece_size=PIECE)
    monkeypatch.undo()
    assert fetch(file, tmp_path) == CONTENT


@pytest.mark.slow
def test_every_way_to_misbehave_in_any_order(site: Site, tmp_path: Path) -> None:
    """Random faults, of which any number may follow each other: the file is right or not there."""
    kinds = [fault for row in MISBEHAVIOURS.values() for fault in row]
    kinds += [faults.status(404), faults.damaged, lambda request: False]
    for seed in range(25):
        chance = random.Random(seed)
        file = chance.choice([hashed, hashed, plain])(site)
        site.faults["/file"] = [chance.choice(kinds) for _ in range(chance.randrange(12))]
        folder = tmp_path / str(seed)
        for _ in range(20):
            try:
                content = fetch(file, folder)
            except FetchError:
                assert not (folder / "folder" / "file.bin").exists()
            else:
                if file.sha256:  # else nobody can know
                    assert content == CONTENT, seed
                break
        else:
            raise AssertionError(f"seed {seed} never ended")


def test_a_request_has_no_compression_in_mind(site: Site, tmp_path: Path) -> None:
    fetch(hashed(site), tmp_path)
    assert {headers["Accept-Encoding"] for _, headers in site.requests} == {"identity"}


def test_every_byte_counts_against_the_limit(site: Site, file: RemoteFile, tmp_path: Path) -> None:
    class Counting(RateLimit):
        seen = 0

        def wait(self, count: int, now: float) -> float:
            self.seen += count
            return 0.0

    counting = Counting(1.0)
    load([file], tmp_path, piece_size=PIECE, rate=counting)
    assert len(CONTENT) <= counting.seen <= len(CONTENT) + 1  # one asks how long the file is
