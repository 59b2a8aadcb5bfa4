"""Gets a model from an address: what is offered there, and its files in a folder of this disk.

The folder outlives a process that is ended, so the next one goes on. It goes when the model has
been made of it, or when no model can be made of it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import anyio
import msgspec

from cupola.cache.catalog_settings import read_catalog_settings
from cupola.cache.errors import (
    DeniedError,
    ModelFileError,
    NoSpaceError,
    UnknownFamilyError,
    UnsupportedError,
)
from cupola.cache.home import Home
from cupola.cache.install.exclusive import exclusive, remove_abandoned
from cupola.cache.install.model_builder import need_builder, need_memory_of_builder
from cupola.cache.model_address import (
    Address,
    AzureAddress,
    HubAddress,
    StorageAddress,
    UrlAddress,
    title_of,
)
from cupola.cache.progress import Progress
from cupola.cache.remote.azure import Azure
from cupola.cache.remote.hub import Hub, denied
from cupola.cache.remote.hub_adapter import choose_adapter
from cupola.cache.remote.hub_files import HubFile, Kind, choose, of_type
from cupola.cache.remote.object_storage import list_objects, load_objects
from cupola.cache.remote.rate_limit import RateLimit
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.remote.transfer import load
from cupola.cache.source_note import SourceFile, SourceNote
from cupola.cache.staging import clean
from cupola.cache.store import ModelCache
from cupola.cache.system import locks

_PREFIX = "partial-"
_ADDRESS = ".address"  # in the folder: what is loaded
_KEPT_SECONDS = 30 * 24 * 3600  # how long an unfinished download waits for the next try
_ENDINGS = re.compile(r"[-_.](?:gguf|onnx)$", re.IGNORECASE)


class Offer(msgspec.Struct, frozen=True):
    """A model at an address: the files, and what is known about them before they are loaded."""

    address: Address
    kind: Kind
    files: tuple[RemoteFile, ...]
    name: str  # as people call it
    publisher: str = ""
    license: str = ""
    commit: str = ""
    architecture: str = ""  # empty: not known
    headers: Mapping[str, str] = {}  # of requests; may hold a token
    reason: str = ""  # why these files and no others

    @property
    def first(self) -> str:
        """The path of the file that the others belong to."""
        return self.files[0].path

    @property
    def size(self) -> int:
        """Bytes, as far as they are known."""
        return sum(file.size or 0 for file in self.files)

    @property
    def digest(self) -> str:
        """The SHA-256 of the weights; of several files, that of their digests."""
        hashes = [file.sha256 for file in self.files if file.sha256]
        if self.kind in ("encoder", "ranker", "whisper"):
            return self.files[0].sha256
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else ""

    @property
    def note(self) -> SourceNote:
        files = (SourceFile(file.path, file.size or 0, file.sha256) for file in self.files)
        return SourceNote(str(self.address), self.commit, tuple(files))

    def check_family(self) -> None:
        """Raises UnsupportedError, before the download, for what could not be converted after."""
        if self.kind not in ("gguf", "decoder", "encoder") or not self.architecture:
            return
        if self.kind == "encoder":
            from cupola.cache.convert.weights.encoder_shape import MODEL_TYPES

            if self.architecture not in MODEL_TYPES:
                raise UnsupportedError(
                    f"{self.address} is of the architecture '{self.architecture}'; of embedding "
                    f"models in safetensors these can be converted: {', '.join(MODEL_TYPES)}. "
                    "There may be a GGUF of it"
                )
            return
        from cupola.cache.convert.families import check_name

        try:
            check_name(str(self.address), self.architecture)
        except UnknownFamilyError as unknown:
            if self.kind != "decoder":
                raise
            need_builder(unknown)
            need_memory_of_builder(self.name, self.size)


def look_up_adapter(address: HubAddress) -> Offer:
    """The LoRA at ``address``. Raises FetchError, UnsupportedError."""
    return anyio.run(partial(_look_up_on_hub, address, adapter=True))


def look_up(address: HubAddress | UrlAddress | AzureAddress | StorageAddress) -> Offer:
    """Asks what is at ``address``. Raises FetchError, UnsupportedError."""
    if isinstance(address, HubAddress):
        return anyio.run(partial(_look_up_on_hub, address))
    if isinstance(address, AzureAddress):
        return anyio.run(partial(_look_up_on_azure, address))
    if isinstance(address, StorageAddress):
        return _offer(address, list_objects(address))
    name = PurePosixPath(address.file_name)
    file = RemoteFile(re.sub(r"[^\w.-]+", "-", name.name), address.url)
    return Offer(address, "gguf", (file,), title_of(name.stem))


async def _look_up_on_hub(address: HubAddress, *, adapter: bool = False) -> Offer:
    hub = Hub()
    repository = await hub.repository(address)
    if adapter:
        choice = choose_adapter(repository.files, address.part)
    else:
        choice = of_type(choose(repository.files, address.part), repository.model_type)
    owner, _, name = address.repository.partition("/")
    return Offer(
        address=address,
        kind=choice.kind,
        files=tuple(hub.remote_files(repository, choice.files, choice.folder)),
        name=_ENDINGS.sub("", name),
        publisher=owner,
        license=repository.license,
        commit=repository.commit,
        architecture=repository.model_type
        if choice.kind in ("decoder", "encoder")
        else repository.architecture,
        headers=hub.headers,
        reason=choice.reason,
    )


async def _look_up_on_azure(address: AzureAddress) -> Offer:
    return _offer(address, await Azure().files(address.uri, address.region), "azureml")


def _offer(
    address: AzureAddress | StorageAddress, listed: Sequence[RemoteFile], publisher: str = ""
) -> Offer:
    """The model among the files that were listed."""
    by_path = {file.path: file for file in listed}
    choice = choose([HubFile(path, file.size or 0) for path, file in by_path.items()])
    prefix = f"{choice.folder}/" if choice.folder else ""
    files = (
        msgspec.structs.replace(by_path[each.path], path=each.path.removeprefix(prefix))
        for each in choice.files
    )
    name = title_of(PurePosixPath(address.name).stem) if choice.kind == "gguf" else address.name
    return Offer(address, choice.kind, tuple(files), name, publisher, reason=choice.reason)


@contextmanager
def fetched(offer: Offer, home: Home, progress: Progress, room: int = 0) -> Iterator[Path]:
    """A folder with the files of ``offer``, for one process at a time.

    ``room``: bytes that the work with them will take. Stages: "download" and "check". Raises
    FetchError, NoSpaceError, OSError.
    """
    home.downloads.mkdir(parents=True, exist_ok=True)
    remove_old(home)
    folder = home.downloads / f"{_PREFIX}{_key(offer)}"
    with exclusive(folder.with_suffix(".lock"), progress) as shared:
        there = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        needed = max(0, offer.size - there) + room
        free = shutil.disk_usage(home.downloads).free
        if free < needed:
            raise NoSpaceError(str(home.root), needed, free)
        folder.mkdir(exist_ok=True)
        (folder / _ADDRESS).write_text(str(offer.address), "utf-8")
        try:
            _load(offer, folder, shared, RateLimit(read_catalog_settings(home).download_rate))
        except DeniedError as error:
            if isinstance(offer.address, HubAddress):  # the listing is open, the files are not
                raise denied(offer.address) from None
            raise error
        try:
            yield folder
        except ModelFileError:  # another download would be the same
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _load(offer: Offer, folder: Path, progress: Progress, rate: RateLimit) -> None:
    if isinstance(offer.address, StorageAddress):
        load_objects(offer.address, offer.files, folder, progress, rate)
    else:
        load(offer.files, folder, progress, offer.headers, rate=rate)


def _key(offer: Offer) -> str:
    """The same for the same files, on whatever mirror they lie."""
    parts = [
        (file.path, file.sha256 or file.git_sha1 or file.md5 or file.identity)
        for file in offer.files
    ]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:24]


def remove_old(home: Home) -> None:
    """Deletes downloads that nobody came back for, and what killed processes have left.

    One that was killed when its work was done leaves the download of a model that is there.
    """
    there = {model.source.address for model in ModelCache(home).scan() if model.source}
    for folder in home.downloads.glob(f"{_PREFIX}*/"):
        newest = max((path.stat().st_mtime for path in folder.rglob("*")), default=0.0)
        is_old = max(newest, folder.stat().st_mtime) < time.time() - _KEPT_SECONDS
        if not is_old and _address_of(folder) not in there:
            continue
        lock = locks.file_lock(folder.with_suffix(".lock"))
        if locks.try_acquire(lock):
            shutil.rmtree(folder, ignore_errors=True)
            locks.delete(lock)
    clean(home)
    remove_abandoned(home.downloads)


def _address_of(folder: Path) -> str:
    try:
        return (folder / _ADDRESS).read_text("utf-8")
    except (OSError, ValueError):
        return ""
