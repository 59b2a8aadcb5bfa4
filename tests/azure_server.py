"""Azure's catalog of Foundry Local on loopback: its two addresses, its registry and its storage.

The shapes are those that Foundry Local's own programs read and write.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.faulty_server import Request, Site

GALLERY = "/asset-gallery/v1.0/models"
ENTITIES = "/api/centralus/ux/v1.0/entities/crossRegion"
REGISTRY = "/modelregistry/v1.0/registry/models/nonazureaccount"
_PAGE = 2  # entries of a page: so few that every test turns pages
_BLOBS = 3


def uri_of(name: str, version: int = 1) -> str:
    return f"azureml://registries/azureml/models/{name}/versions/{version}"


def flat(name: str, device: str = "cpu", provider: str = "CPUExecutionProvider") -> dict[str, Any]:
    """An entry of the newer address."""
    return {
        "assetId": uri_of(name, 4),
        "name": name,
        "alias": name.partition("-generic")[0],
        "displayName": name.title(),
        "version": "4",
        "publisher": "Microsoft",
        "license": "MIT",
        "createdTime": "2026-01-15T10:30:00.1234567+00:00",
        "inferenceTasks": ["chat-completion"],
        "modelCapabilities": ["tool-calling", "reasoning"],
        "deploymentOptions": ["foundryLocalDevices"],
        "modelLimits": {"textLimits": {"inputContextWindow": 32768, "maxOutputTokens": 4096}},
        "variantInformation": {
            "parents": [{"assetId": uri_of("parent")}],
            "variantMetadata": {
                "modelType": "ONNX",
                "quantization": ["RTN"],
                "device": device,
                "executionProvider": provider,
                "fileSizeBytes": 3_500_000_000,
            },
        },
    }


def nested(
    name: str, device: str = "cpu", provider: str = "CPUExecutionProvider"
) -> dict[str, Any]:
    """An entry of the older address."""
    return {
        "assetId": uri_of(name, 4),
        "entityId": uri_of(name, 4),
        "annotations": {
            "tags": {
                "alias": name.partition("-generic")[0],
                "foundryLocal": "",
                "promptTemplate": '{"prompt": "{Content}"}',
                "task": "chat-completion",
                "license": "MIT",
                "supportsToolCalling": "true",
                "supportsReasoning": "True",
                "maxOutputTokens": "4096",
            },
            "systemCatalogData": {"publisher": "Microsoft", "displayName": name.title()},
        },
        "properties": {
            "id": f"{name}:4",
            "name": name,
            "version": 4,
            "minFLVersion": "0.5.0",
            "creationContext": {"createdTime": "2026-01-15T10:30:00Z"},
            "variantInfo": {
                "parents": [{"assetId": uri_of("parent")}],
                "variantMetadata": {
                    "modelType": "ONNX",
                    "device": device,
                    "executionProvider": provider,
                    "fileSizeBytes": 3_500_000_000,
                },
            },
        },
    }


class AzureServer:
    """``entries``: what the catalog has. ``models``: the files of a model by its URI."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.entries: list[dict[str, Any]] = []
        self.models: dict[str, dict[str, bytes]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.signatures = 0
        site.answers[GALLERY] = self._gallery
        site.answers[ENTITIES] = self._entities
        site.answers[REGISTRY] = self._registry

    def environment(self, *, older: bool = False) -> dict[str, str]:
        path = ENTITIES.removesuffix("/entities/crossRegion") if older else GALLERY
        return {
            "AZURE_CATALOG_ENDPOINT": self.site.url + path,
            "AZURE_REGISTRY_ENDPOINT": self.site.url,
        }

    def add_model(self, entry: dict[str, Any], files: dict[str, bytes]) -> None:
        self.entries.append(entry)
        self.models[entry["assetId"]] = files

    def _gallery(self, request: Request) -> None:
        wanted = json.loads(request.body)
        self.bodies.append(wanted)
        if request.headers["User-Agent"] != "AzureAiStudio":
            request.answer(400, {"Content-Length": "0"})
            return
        device = _device(wanted)
        found = [each for each in self.entries if device in ("", _device_of(each))]
        start = int(wanted.get("continuationToken") or 0)
        end = start + min(_PAGE, wanted["pageSize"])
        token = str(end) if end < len(found) else ""
        _give(
            request,
            {"totalCount": len(found), "summaries": found[start:end], "continuationToken": token},
            {"azureml-served-by-cluster": "vienna-westus2-01"},
        )

    def _entities(self, request: Request) -> None:
        body = json.loads(request.body)
        wanted = body["indexEntitiesRequest"]
        self.bodies.append(body)
        device = _device(wanted)
        found = [each for each in self.entries if _device_of(each) == device]
        start = wanted.get("skip", 0)
        end = start + _PAGE
        page = {"totalCount": len(found), "value": found[start:end], "continuationToken": None}
        page["nextSkip"] = end if end < len(found) else None
        _give(request, {"indexEntitiesResponse": page})

    def _registry(self, request: Request) -> None:
        uri = parse_qs(urlsplit(request.path).query)["assetId"][0]
        if uri not in self.models:
            request.answer(404, {"Content-Length": "0"})
            return
        self.signatures += 1
        name = hashlib.sha256(uri.encode()).hexdigest()[:8]
        self.site.answers[f"/{name}"] = lambda each: self._list(each, uri)
        for path, content in self.models[uri].items():
            self.site.answers[f"/{name}/{path}"] = lambda each, content=content: self._blob(  # type: ignore[misc]
                each, content
            )
        place = f"{self.site.url}/{name}?sv=2021&sig=s3cret{self.signatures}"
        _give(request, {"blobSasUri": place, "modelEntity": {"description": "# A model"}})

    def _list(self, request: Request, uri: str) -> None:
        query = parse_qs(urlsplit(request.path).query)
        assert query["comp"] == ["list"] and query["sig"] == [f"s3cret{self.signatures}"]
        names = sorted(self.models[uri])
        start = int(query.get("marker", ["0"])[0])
        end = start + _BLOBS
        blobs = "".join(_blob(name, self.models[uri][name]) for name in names[start:end])
        marker = str(end) if end < len(names) else ""
        text = (
            '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults>'
            f"<Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        )
        body = text.encode()
        request.answer(
            200, {"Content-Type": "application/xml", "Content-Length": str(len(body))}, body
        )

    def _blob(self, request: Request, content: bytes) -> None:
        assert parse_qs(urlsplit(unquote(request.path)).query)["sig"]
        request.give(content, etag='"0x8D"')


def _device(wanted: dict[str, Any]) -> str:
    values = {
        each["field"].rpartition("/")[2].lower(): each["values"] for each in wanted["filters"]
    }
    return str(values.get("device", [""])[0])


def _device_of(entry: dict[str, Any]) -> str:
    info = entry.get("variantInformation") or entry["properties"]["variantInfo"]
    return str(info["variantMetadata"]["device"])


def _blob(name: str, content: bytes) -> str:
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties>"
        f"<Content-Length>{len(content)}</Content-Length><Content-MD5>{md5}</Content-MD5>"
        "<BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


def _give(request: Request, content: object, headers: dict[str, str] | None = None) -> None:
    body = json.dumps(content).encode()
    kind = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    request.answer(200, kind | (headers or {}), body)


@contextmanager
def azure_server() -> Iterator[AzureServer]:
    with Site() as site:
        yield AzureServer(site)
