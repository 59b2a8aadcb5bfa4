"""Azure's catalog of Foundry Local: which models it has, and where their files lie.

It is asked only if the setting ``catalogs`` has "azure", and only when a person refreshes the
catalogs or downloads one of its models. Two generations of the catalog's API are known:
``/asset-gallery/v1.0/models`` and, until Foundry Local 2.1, ``/ux/v1.0/entities/crossRegion``.
``AZURE_CATALOG_ENDPOINT`` and ``AZURE_REGISTRY_ENDPOINT`` name other servers; ``{region}`` in them
is replaced.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx2
import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.errors import DeniedError, FetchError, NotFoundError
from cupola.cache.remote.asking import ask, decoded
from cupola.cache.remote.azure_records import variant_of
from cupola.cache.remote.http_client import new_client, server_of
from cupola.cache.remote.remote_file import RemoteFile

CATALOG = "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"
_REGISTRY = "https://{region}.api.azureml.ms"
_REGISTRY_PATH = "/modelregistry/v1.0/registry/models/nonazureaccount?assetId="
_OLDER, _OLDER_PATH = "/ux/v1.0", "/entities/crossRegion"
# The servers refuse every other one.
_HEADERS = {"User-Agent": "AzureAiStudio", "Content-Type": "application/json"}
_CLUSTER = re.compile(r"vienna-(\w+)-\d+")
_REGIONS = ("centralus", "eastus", "westus2", "westeurope")  # tried one after the other
_DEVICES = ("cpu", "gpu", "npu")
_PAGE = 50
_MAX_PAGES = 200
_ATTEMPTS = 4
_ASKED_ELSEWHERE = 2  # attempts in a region before the next one is asked
_SERVER = "Azure's catalog"


class Azure:
    """Methods are coroutines of one loop. They raise FetchError."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._catalog = (environment.get("AZURE_CATALOG_ENDPOINT") or CATALOG).rstrip("/")
        self._registry = (environment.get("AZURE_REGISTRY_ENDPOINT") or _REGISTRY).rstrip("/")

    async def variants(self) -> list[ModelVariant]:
        """The newest variants of all models, for every device."""
        found: dict[str, ModelVariant] = {}
        async with new_client() as client:
            region = await self._region(client)
            for device in _DEVICES:
                async for entry in self._entries(client, region, device):
                    if (variant := variant_of(entry, region)) is not None:
                        found.setdefault(variant.id.casefold(), variant)
        return list(found.values())

    async def files(self, uri: str, region: str = "") -> list[RemoteFile]:
        """The files of the model at ``uri``; see ``AzureSource``."""
        async with new_client() as client:
            container = await self._container(client, uri, region)
            return [file async for file in _blobs(client, container, uri)]

    async def _region(self, client: httpx2.AsyncClient) -> str:
        """The region that answers from here."""
        probe = self._catalog if _OLDER not in self._catalog else CATALOG
        if "{region}" not in self._catalog and _OLDER in self._catalog:
            return _REGIONS[0]
        body = msgspec.json.encode({"filters": [], "pageSize": 1})
        url = probe.replace("{region}", _REGIONS[0])
        try:
            _, response = await self._post(client, url, body)
        except FetchError:
            return _REGIONS[0]
        found = _CLUSTER.search(response.headers.get("azureml-served-by-cluster", ""))
        return found[1].lower() if found else _REGIONS[0]

    async def _entries(
        self, client: httpx2.AsyncClient, region: str, device: str
    ) -> AsyncIterator[Any]:
        """The entries of a device, page by page."""
        older = _OLDER in self._catalog
        url = self._catalog.replace("{region}", region) + (_OLDER_PATH if older else "")
        place: dict[str, Any] = {}
        for _ in range(_MAX_PAGES):
            wanted = {"filters": _filters(device, older), "pageSize": _PAGE, **place}
            if older:
                registry = {"resourceId": "azureml", "entityContainerType": "Registry"}
                wanted = {"resourceIds": [registry], "indexEntitiesRequest": wanted}
            content, _ = await self._post(client, url, msgspec.json.encode(wanted))
            answer = decoded(content, dict[str, Any], url, "its models", _SERVER)
            page = answer.get("indexEntitiesResponse", answer)
            entries = page.get("value", page.get("summaries")) if isinstance(page, dict) else None
            if not isinstance(entries, list):
                raise FetchError(f"{server_of(url)} does not answer as {_SERVER} does")
            for entry in entries:
                yield entry
            token, skip = page.get("continuationToken"), page.get("nextSkip")
            place = {"continuationToken": token} if token else {}
            place |= {"skip": skip} if isinstance(skip, int) and skip > 0 else {}
            if not place or not entries:
                return

    async def _post(
        self, client: httpx2.AsyncClient, url: str, body: bytes
    ) -> tuple[bytes, httpx2.Response]:
        return await ask(
            client,
            url,
            _SERVER,
            method="POST",
            headers=_HEADERS,
            content=body,
            attempts=_ATTEMPTS,
        )

    async def _container(self, client: httpx2.AsyncClient, uri: str, region: str) -> str:
        """The signed address of the container with the model's files."""
        several = "{region}" in self._registry
        regions = dict.fromkeys((region or _REGIONS[0], *_REGIONS)) if several else {"": None}
        for number, each in enumerate(regions, 1):
            url = self._registry.replace("{region}", each) + _REGISTRY_PATH + quote(uri, safe="")
            last = number == len(regions)
            attempts = _ATTEMPTS if last else _ASKED_ELSEWHERE
            try:
                content, _ = await ask(client, url, uri, headers=_HEADERS, attempts=attempts)
            except FetchError as error:
                if last or isinstance(error, (NotFoundError, DeniedError)):
                    raise
                continue
            answer = decoded(content, dict[str, Any], url, uri, "Azure's registry")
            place = str(answer.get("blobSasUri", ""))
            if urlsplit(place).scheme not in ("http", "https"):
                raise FetchError(f"{server_of(url)} does not say where the files of {uri} are")
            return place
        raise AssertionError("there is a region")


def _filters(device: str, older: bool) -> list[dict[str, object]]:
    wanted: dict[str, list[str]] = (
        {
            "type": ["models"],
            "kind": ["Versioned"],
            "labels": ["latest"],
            "annotations/tags/foundryLocal": [""],
            "properties/variantInfo/variantMetadata/device": [device],
        }
        if older
        else {
            "DeploymentOptions": ["foundryLocalDevices"],
            "VariantInformation/VariantMetadata/Device": [device],
        }
    )
    return [{"field": f, "operator": "eq", "values": values} for f, values in wanted.items()]


async def _blobs(
    client: httpx2.AsyncClient, container: str, what: str
) -> AsyncIterator[RemoteFile]:
    """The files of a container, by its signed address."""
    place, _, signature = container.partition("?")
    marker = ""
    for _ in range(_MAX_PAGES):
        turn = f"&marker={quote(marker, safe='')}" if marker else ""
        url = f"{place}?restype=container&comp=list{turn}&{signature}"
        content, _ = await ask(client, url, what)
        try:
            if b"<!DOCTYPE" in content:
                raise ElementTree.ParseError("it declares a document type")
            root = ElementTree.fromstring(content.removeprefix(b"\xef\xbb\xbf"))
        except ElementTree.ParseError:
            raise FetchError(f"{server_of(url)} does not list the files of {what}") from None
        for blob in root.iter("Blob"):
            name, properties = blob.findtext("Name") or "", blob.find("Properties")
            size = properties.findtext("Content-Length") if properties is not None else None
            md5 = properties.findtext("Content-MD5") if properties is not None else None
            if not name.endswith("inference_model.json") and (size or "").isdecimal():
                yield RemoteFile(
                    path=name,
                    url=f"{place}/{quote(name)}?{signature}",
                    size=int(size or 0),
                    md5=_hexadecimal(md5 or ""),
                    is_signed=True,
                )
        marker = root.findtext("NextMarker") or ""
        if not marker:
            return


def _hexadecimal(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except binascii.Error:
        return ""
