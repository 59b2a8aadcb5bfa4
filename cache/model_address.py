"""Where a model is: ``hf:org/name[@revision][:file or quant]``, or a URL; and its name. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import msgspec

from cupola.cache.catalog import AzureSource, HubSource

HUB = "https://huggingface.co"
_PREFIX = "hf:"
_HOSTS = ("hf.co/", "huggingface.co/")  # as Ollama's users write it
_OWNER_AND_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(rf"({_OWNER_AND_NAME})(?:@([A-Za-z0-9][\w./-]{{0,199}}))?(?::(.{{1,500}}))?")
_PAGE = re.compile(rf"/({_OWNER_AND_NAME})(?:/(?:resolve|blob|tree)/([^/]+)(?:/(.+))?)?/?")
_PIP = "pip:"
# The version is exact, so that the address means the same tomorrow.
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]{0,99}==[\w.!+]{1,60})(?:#(.{1,500}))?", re.ASCII)
STORAGES = ("s3", "gs", "abfs")
_OBJECT = re.compile(r"[A-Za-z0-9][\w.@-]*/[^\x00-\x1f]{1,1000}")
_AZURE = "azureml://registries/"
_AZURE_MODEL = re.compile(rf"{_AZURE}[\w.-]+/models/[\w.-]+/versions/\d+", re.ASCII)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME = 100
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_QUANTISATION = re.compile(r"[.-](?:i?q\d\w*|b?f16|f32|mxfp4)$", re.IGNORECASE)


class AddressError(ValueError):
    """A text that looks like an address and is none."""


class HubAddress(msgspec.Struct, frozen=True, tag="hub"):
    """A repository of the hub. ``revision``: a branch, a tag or a commit.

    ``part``: a file, a folder, or the name of a quantisation such as "Q4_K_M"; empty: the best.
    """

    repository: str  # owner/name
    revision: str = "main"
    part: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{_PREFIX}{self.repository}{revision}" + (f":{self.part}" if self.part else "")


class UrlAddress(msgspec.Struct, frozen=True, tag="url"):
    """One file on a web server."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def file_name(self) -> str:
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


class AzureAddress(msgspec.Struct, frozen=True, tag="azure"):
    """A model of Azure's catalog of Foundry Local. ``region``: where to ask first."""

    uri: str
    region: str = ""

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        return self.uri.split("/")[-3]


class PipAddress(msgspec.Struct, frozen=True, tag="pip"):
    """A file or folder inside a wheel of the package index; ``part`` as in ``HubAddress``."""

    requirement: str  # name==version
    part: str = ""

    def __str__(self) -> str:
        return f"{_PIP}{self.requirement}" + (f"#{self.part}" if self.part else "")

    @property
    def name(self) -> str:
        return self.requirement.partition("==")[0]


class StorageAddress(msgspec.Struct, frozen=True, tag="storage"):
    """A file or folder in object storage. ``path``: the bucket and what follows."""

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]


Address = HubAddress | UrlAddress | AzureAddress | PipAddress | StorageAddress


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address, and not as a model's name."""
    stores = (f"{each}:" for each in STORAGES)
    return text.startswith((_PREFIX, _PIP, *_HOSTS, *stores)) or "://" in text


def is_hub_address(text: str) -> bool:
    """Whether ``text`` names a repository of the hub.

    Who asks over HTTP may have those and no other address: a service fetches no URL for a stranger.
    """
    try:
        return is_address(text) and isinstance(parse_address(text), HubAddress)
    except AddressError:
        return False


def parse_address(text: str) -> Address:
    """Raises AddressError, which says what an address looks like."""
    prefix = next((each for each in (_PREFIX, *_HOSTS) if text.startswith(each)), "")
    if prefix:
        found = _HUB.fullmatch(text.removeprefix(prefix).removeprefix("//"))
        if found is None or ".." in (found[2] or ""):
            raise AddressError(
                f"'{text}' is no model of the hub. Write it as hf:OWNER/NAME, "
                "hf:OWNER/NAME:Q4_K_M or hf:OWNER/NAME@REVISION:FILE"
            )
        return HubAddress(found[1], found[2] or "main", found[3] or "")
    if text.startswith(_PIP):
        if not (found := _REQUIREMENT.fullmatch(text.removeprefix(_PIP))):
            raise AddressError(f"'{text}' is no wheel. Write it as pip:NAME==VERSION#FILE")
        return PipAddress(found[1], found[2] or "")
    scheme, _, path = text.partition(":")
    if scheme in STORAGES:
        path = path.lstrip("/")
        if not _OBJECT.fullmatch(path):
            raise AddressError(f"'{text}' is no place. Write it as {scheme}://BUCKET/FOLDER")
        return StorageAddress(scheme, path)
    if text.startswith(_AZURE):
        if not _AZURE_MODEL.fullmatch(text):
            form = f"{_AZURE}REGISTRY/models/NAME/versions/N"
            raise AddressError(f"'{text}' is no model of Azure's. Write it as {form}")
        return AzureAddress(text)
    parts = urlsplit(text)
    secure = parts.scheme == "https" or parts.hostname in _LOOPBACK
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressError(f"'{text}' is no address: it begins with neither hf: nor https://")
    if not secure:
        raise AddressError(f"'{text}' is not protected on its way: an address begins with https://")
    if parts.username or parts.password:
        raise AddressError("An address has no name and no password in it")
    if parts.hostname in ("huggingface.co", "hf.co") and (page := _PAGE.fullmatch(parts.path)):
        return HubAddress(page[1], unquote(page[2] or "main"), unquote(page[3] or ""))
    if not parts.path.lower().endswith(".gguf"):
        raise AddressError(f"'{text}' is no GGUF file. Files of other kinds are taken from hf:")
    return UrlAddress(text)


def address_of(source: HubSource | AzureSource) -> HubAddress | AzureAddress:
    """Where the files of a catalog's model are."""
    if isinstance(source, AzureSource):
        return AzureAddress(source.uri, source.region)
    return HubAddress(source.repository, source.revision, source.part)


def check_name(name: str) -> None:
    """Raises AddressError for what a person cannot have meant as a model's name.

    Blanks and the like become hyphens. A path, a version, or letters that would be lost do not.
    """
    lost = any(letter.isalnum() and not letter.isascii() for letter in name)
    if lost or not safe(name) or name.startswith(".") or any(each in name for each in "/\\:"):
        raise AddressError(
            f"{name!r} cannot be a model's name. Take letters from a to z, digits, '-', '_' and '.'"
        )


def safe(text: str) -> str:
    """``text`` as a part of a model's id and a folder's name; empty: nothing of it can be one."""
    return _UNSAFE.sub("-", text)[:_MAX_NAME].strip("-._")


def title_of(stem: str) -> str:
    """A model's name by the name of its file, without ".gguf": without its part and its quant."""
    return _QUANTISATION.sub("", _PART.sub("", stem))
