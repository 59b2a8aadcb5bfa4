"""The bodies of Foundry Local's own addresses. Keys are taken in any case."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from cupola.gateway.http.errors import ApiError

_URI = re.compile(r"/models/([^/]+)/versions/(\d+)$")


class DownloadModel(msgspec.Struct, frozen=True, rename="pascal"):
    name: str | msgspec.UnsetType = msgspec.UNSET
    uri: str | msgspec.UnsetType = msgspec.UNSET


class DownloadBody(msgspec.Struct, frozen=True):
    """Keys are taken in any case, and further ones are not read."""

    model: DownloadModel | str
    force: bool | None = None


class RegisterBody(msgspec.Struct, frozen=True, rename="pascal"):
    """Keys are taken in any case."""

    model_name: str
    base_uri: str
    type_name: str | None = None
    api_key: str | None = None


def read_download(body: bytes) -> tuple[str, bool]:
    """(which model, whether it is downloaded although it is there). Raises ApiError.

    ``model`` is an object with a Name or a Uri, or in old documents the name.
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(400, "invalid_json", "The body is not JSON") from None
    if not isinstance(content, dict):
        raise ApiError(400, "invalid_type", "The body must be a JSON object")
    fields = _lower_keys(content)
    model = fields.get("model")
    about = _lower_keys(model) if isinstance(model, dict) else {"name": model}
    name = about.get("name") or _name_in(about.get("uri"))
    if not isinstance(name, str) or not name:
        message = "The body needs a model with a Name: {'model': {'Name': '...'}}"
        raise ApiError(400, "missing_required_parameter", message, param="model")
    force = fields.get("force")
    if not isinstance(force, bool | None):
        raise ApiError(400, "invalid_type", "'force' is true or false", param="force")
    return name, bool(force)


def read_registration(body: bytes) -> RegisterBody:
    """Texts without the space around them. Raises ApiError."""
    try:
        content = msgspec.json.decode(body, type=dict[str, str | None])
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = "The body must be a JSON object of texts: TypeName, ModelName, BaseUri"
        raise ApiError(400, "invalid_json", message) from None
    fields = {key.lower(): value.strip() for key, value in content.items() if value}
    name, base = fields.get("modelname", ""), fields.get("baseuri", "")
    if not name or not base:
        message = "The body needs ModelName and BaseUri"
        raise ApiError(400, "missing_required_parameter", message, param="ModelName")
    return RegisterBody(name, base, fields.get("typename") or None, fields.get("apikey") or None)


def _lower_keys(fields: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in fields.items()}


def _name_in(uri: object) -> str:
    found = _URI.search(uri) if isinstance(uri, str) else None
    return f"{found[1]}:{found[2]}" if found else ""
