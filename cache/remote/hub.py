"""The hub's API: what a repository holds, and which repositories there are.

Two requests of JSON do not need a library, and the downloads have a code of their own
(``transfer.py``), with ranges side by side and digests. ``huggingface_hub`` would be a second HTTP
client beside it, whose requests name installed packages. ``HF_ENDPOINT`` names another server, such
as a mirror. Everybody may write what a hub tells: texts that a terminal would obey are left out,
and an answer has its bounds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from cupola.cache.errors import DeniedError, FetchError, NotFoundError
from cupola.cache.model_address import HUB, HubAddress
from cupola.cache.remote import retry
from cupola.cache.remote.asking import ask
from cupola.cache.remote.http_client import new_client, refused, server_of
from cupola.cache.remote.hub_files import HubFile
from cupola.cache.remote.remote_file import RemoteFile

_SEARCH_ATTEMPTS = 2  # somebody waits for the list, and the catalog has an answer already
_MAX_FILES = 20_000
_MAX_PAGES = 200
T = TypeVar("T")
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]  # bytes


class Repository(msgspec.Struct, frozen=True):
    """A repository at one commit."""

    name: str  # owner/name
    commit: str
    license: str = ""
    architecture: str = ""  # of its GGUF files, as far as the hub has read them
    files: tuple[HubFile, ...] = ()
    model_type: str = ""  # of its config.json


class Found(msgspec.Struct, frozen=True):
    """A repository as a search lists it."""

    name: str = msgspec.field(name="id")
    downloads: int = 0
    likes: int = 0
    tags: tuple[str, ...] = ()

    @property
    def license(self) -> str:
        return _license(self.tags)


class _Gguf(msgspec.Struct):
    architecture: str = ""


class _Config(msgspec.Struct):
    model_type: str = ""


class _Info(msgspec.Struct):
    sha: str
    tags: tuple[str, ...] = ()
    gguf: _Gguf | None = None
    config: _Config | None = None


class _Lfs(msgspec.Struct):
    oid: str
    size: _Size


class _Entry(msgspec.Struct):
    type: str
    path: str
    oid: str = ""
    size: _Size = 0
    lfs: _Lfs | None = None


class Hub:
    """One server. Methods are coroutines of one loop."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.endpoint = (environment.get("HF_ENDPOINT") or HUB).rstrip("/")
        self._token = token(environment)

    @property
    def headers(self) -> dict[str, str]:
        """What requests for files need as well."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def repository(self, address: HubAddress) -> Repository:
        """What the repository holds at the revision. Raises FetchError."""
        name, revision = address.repository, quote(address.revision, safe="")
        url = f"{self.endpoint}/api/models/{name}/revision/{revision}"
        what = f"hf:{name}@{address.revision}"
        async with new_client() as client:
            info, _ = await self._get(client, url, what, _Info)
            pages = f"{self.endpoint}/api/models/{name}/tree/{info.sha}?recursive=true"
            entries: list[_Entry] = []
            for _ in range(_MAX_PAGES):
                page, pages = await self._get(client, pages, what, list[_Entry])
                entries += page
                if not pages or len(entries) >= _MAX_FILES:
                    break
        files = tuple(
            _hub_file(entry)
            for entry in entries
            if entry.type == "file" and entry.path.isprintable()
        )
        architecture = _printable(info.gguf.architecture if info.gguf else "")
        model_type = _printable(info.config.model_type if info.config else "")
        return Repository(name, info.sha, _license(info.tags), architecture, files, model_type)

    async def search(self, words: str, limit: int = 20) -> list[Found]:
        """Repositories with GGUF or ONNX files whose names have the words, most loaded first."""
        found: dict[str, Found] = {}
        async with new_client() as client:
            for kind in ("gguf", "onnx"):
                query = {"search": words, "filter": kind, "sort": "downloads", "limit": limit}
                url = f"{self.endpoint}/api/models?{urlencode(query)}"
                what = "the list of models"
                page, _ = await self._get(client, url, what, list[Found], _SEARCH_ATTEMPTS)
                found |= {each.name: each for each in page if each.name.isprintable()}
        return sorted(found.values(), key=lambda each: -each.downloads)[:limit]

    def remote_files(
        self, repository: Repository, files: Sequence[HubFile], folder: str = ""
    ) -> list[RemoteFile]:
        """How ``files`` are loaded. Their paths are from ``folder`` on."""
        base = f"{self.endpoint}/{repository.name}/resolve/{repository.commit}"
        return [
            RemoteFile(
                path=each.path.removeprefix(f"{folder}/") if folder else each.path,
                url=f"{base}/{quote(each.path)}",
                size=each.size,
                sha256=each.sha256,
                git_sha1=each.git_sha1,
            )
            for each in files
        ]

    async def _get(
        self,
        client: httpx2.AsyncClient,
        url: str,
        what: str,
        kind: type[T],
        attempts: int = retry.ATTEMPTS,
    ) -> tuple[T, str]:
        """The answer as ``kind``, and the URL of the next page."""
        content, response = await ask(
            client, url, what, headers=self.headers, refusal=self._refused, attempts=attempts
        )
        return _decode(content, url, what, kind), _next(response, self.endpoint)

    def _refused(self, response: httpx2.Response, what: str) -> FetchError:
        """The hub answers 401 both for what is not there and for what is not for everybody."""
        code, status = response.headers.get("x-error-code", ""), response.status_code
        server = server_of(self.endpoint)
        name = what.removeprefix("hf:").partition("@")[0]
        if code == "GatedRepo" or status == 403:
            return denied(HubAddress(name))
        if code == "RevisionNotFound":
            return NotFoundError(f"{server} has no {what}: the repository has no such revision")
        if status in (401, 404):
            advice = (
                "The token in HF_TOKEN may not read it"
                if self._token
                else "If it is private, set HF_TOKEN to a token that may read it"
            )
            return NotFoundError(
                f"{server} has no {what}, or not for everybody. Check the spelling. {advice}"
            )
        return refused(response, what)


def denied(address: HubAddress) -> DeniedError:
    """The error for a repository that is not given to everybody."""
    return DeniedError(
        f"hf:{address.repository} is given only to those who accept its terms. Accept them on "
        f"{Hub().endpoint}/{address.repository}, and set HF_TOKEN to a token of your account"
    )


def token(environment: Mapping[str, str] = os.environ) -> str:
    """The hub's token as its own programs find it; empty: there is none."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if found := environment.get(name, "").strip():
            return found
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or f"{cache}/huggingface"
    path = Path(environment.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def _decode(content: bytes, url: str, what: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        raise FetchError(
            f"{server_of(url)} does not answer as the hub does about {what}. Check HF_ENDPOINT"
        ) from None


def _next(response: httpx2.Response, endpoint: str) -> str:
    """The next page, on this server: the token is sent there."""
    url: Any = response.links.get("next", {}).get("url", "")
    return str(url) if str(url).startswith(endpoint + "/") else ""


def _hub_file(entry: _Entry) -> HubFile:
    if entry.lfs is not None:
        return HubFile(entry.path, entry.lfs.size, sha256=entry.lfs.oid)
    return HubFile(entry.path, entry.size, git_sha1=entry.oid)


def _printable(text: str) -> str:
    return text if text.isprintable() else ""


def _license(tags: Sequence[str]) -> str:
    licenses = (tag for tag in tags if tag.startswith("license:") and tag.isprintable())
    return next(licenses, "").removeprefix("license:")
