"""POST /openai/register: adds models of other servers that speak OpenAI's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.system.local_url import is_local, is_loopback
from cupola.gateway.core.remote_models import RemoteModel, RemoteModels
from cupola.gateway.foundry.body import RegisterBody, read_registration
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.errors import SERVER_ERROR, ApiError
from cupola.scheduler.protocol.lines import MAX_LINE_BYTES, LineError

MAX_MODELS = 1000
# Longest values in bytes. All models are told to every gateway, also to one that is restarted, and
# together they fit into what may wait for it.
MAX_BYTES = {"ModelName": 256, "TypeName": 64, "BaseUri": 2048, "ApiKey": 8192}


class FoundryRegisterApi:
    def __init__(
        self,
        remote: RemoteModels,
        models: ModelDirectory,
        hosts: Collection[str],
        notify: Callable[[str], None],
        ports: Collection[int] = (),
    ) -> None:
        """``hosts``: where models may be besides this machine. ``ports``: the service's own.

        ``notify`` sends a line to the supervisor.
        """
        self._remote = remote
        self._models = models
        self._hosts = frozenset(host.lower() for host in hosts)
        self._notify = notify
        self._ports = frozenset(ports)

    async def register(self, request: Request) -> Response:
        body = read_registration(await request.body())
        _check_sizes(body)
        self._check(body.base_uri)
        await self._must_be_free(body.model_name)
        if len(self._remote) >= MAX_MODELS:
            raise ApiError(400, "too_many_models", f"{MAX_MODELS} models are registered already")
        model = RemoteModel(
            name=body.model_name,
            kind=body.type_name or "remote",
            base=body.base_uri.rstrip("/"),
            key=body.api_key or "",
            since=int(time.time()),
        )
        return self._share(model)

    async def unregister(self, request: Request) -> Response:
        model = self._remote.find(request.path_params["name"])
        if model is None:
            text = "No model of this name is registered"
            raise ApiError(404, "model_not_found", text, param="name")
        return self._share(RemoteModel(model.name))

    def _share(self, model: RemoteModel) -> Response:
        if len(model.line.encode()) > MAX_LINE_BYTES:  # quotes and control characters take more
            raise ApiError(400, "invalid_value", "The registration is too long", param="ApiKey")
        try:
            self._notify(model.line)
        except LineError:
            text = "The supervisor takes no registrations now; try again later"
            raise ApiError(503, "server_overloaded", text, kind=SERVER_ERROR) from None
        self._remote.put(model)
        return Response()

    def _check(self, base: str) -> None:
        try:
            url = urlsplit(base)
            host = (url.hostname or "").lower()
            sound = url.scheme in ("http", "https") and bool(host) and url.port != 0
        except ValueError:
            sound, host = False, ""
        if not sound or url.username or url.query or url.fragment:
            message = "BaseUri must be a URL such as http://localhost:11434/v1"
            raise ApiError(400, "invalid_value", message, param="BaseUri")
        if not is_loopback(host) and host not in self._hosts:
            message = f"Models on {host} are not allowed; the 'remote_hosts' setting can allow them"
            raise ApiError(403, "forbidden_host", message, param="BaseUri")
        if is_local(host) and url.port in self._ports:
            message = "BaseUri is this service itself; name the server that runs the model"
            raise ApiError(400, "invalid_value", message, param="BaseUri")

    async def _must_be_free(self, name: str) -> None:
        try:
            await self._models.lookup(name)
        except UnknownModelError:
            return
        except NotCachedError:
            pass
        message = f"'{name}' is a model of this service; register the other under another name"
        raise ApiError(409, "model_exists", message, param="ModelName")


def _check_sizes(body: RegisterBody) -> None:
    values = {
        "ModelName": body.model_name,
        "TypeName": body.type_name,
        "BaseUri": body.base_uri,
        "ApiKey": body.api_key,
    }
    for name, value in values.items():
        if len((value or "").encode(errors="replace")) > MAX_BYTES[name]:
            message = f"{name} is longer than {MAX_BYTES[name]} bytes"
            raise ApiError(400, "invalid_value", message, param=name)
