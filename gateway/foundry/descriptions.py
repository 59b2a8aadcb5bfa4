"""The descriptions of Foundry Local's addresses, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from cupola.gateway.foundry.answers import (
    CacheLocation,
    LoadStatus,
    ModelRecord,
    PromptCount,
    ProviderAnswer,
    ServiceStatus,
    UnloadStatus,
)
from cupola.gateway.foundry.body import DownloadBody, RegisterBody
from cupola.gateway.http.error_codes import MODEL, WORK
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openapi.described import TEXT, Operation, Query, Section

_PATH = {
    "name": Query(str, "id, name or alias of a model"),
    "device": Query(Annotated[int, Meta(ge=0, le=999)], "its number"),
}
_Seconds = float | Literal[""]  # an empty value is none
_Flag = bool | Literal["", "0", "1"]
_STAYS = {
    "ttl": Query(_Seconds, "seconds that the model stays after its last use; -1: for ever"),
    "timeout": Query(_Seconds, "the same, as C# clients call it"),
    "unload": Query(_Flag, "false: it stays for ever; true: for the usual time"),
}
_EP = {"ep": Query(str, "the execution provider")}
_FORCE = {"force": Query(_Flag, "also when it was loaded for a given time")}


def _operation(summary: str, answer: Any = None, about: str = "", **more: Any) -> Operation:
    return Operation(Section.FOUNDRY, summary, about, answer=answer, path=_PATH, **more)


def _admin(summary: str, answer: Any = None, about: str = "", **more: Any) -> Operation:
    """It changes the service, so not everybody may do it."""
    errors = (*more.pop("errors", ()), "forbidden")
    return _operation(summary, answer, about, admin=True, errors=errors, **more)


LIST = _operation("Every model that this machine can run", list[ModelRecord])
CACHED = _operation("Ids of the models on this machine", list[str])
LOCATION = _operation("Where the models are", CacheLocation)
STATUS = _operation("About the service", ServiceStatus)
PROVIDERS = _operation(
    "What the installed runtime can run on, and what is wrong with the rest", list[ProviderAnswer]
)
DOWNLOAD = _admin(
    "Download a model",
    str,
    "Lines of progress, then one JSON object with `success` and `errorMessage`.",
    media=TEXT,
    body=DownloadBody,
)
LOADED = _operation("Ids of the loaded models", list[str])
LOAD = _admin("Load a model", query=_STAYS | _EP, errors=WORK)
LOAD_NOW = _admin("Load a model", LoadStatus, query=_STAYS, errors=(*WORK, "model_not_cached"))
UNLOAD = _admin("Unload a model", query=_FORCE, errors=WORK)
UNLOAD_NOW = _admin("Unload a model", UnloadStatus, errors=WORK)
UNLOAD_ALL = _admin("Unload all models", errors=WORK)
GPU = _operation("The GPU that models run on", int, "The number of the first one; -1: none.")
SET_GPU = _admin(
    "Choose the GPU that models run on",
    None,
    "The `workers` setting chooses it, so only the one in use is accepted.",
    errors=("invalid_value",),
)
COUNT = _operation("How many tokens a conversation has", PromptCount, body=ChatRequest, errors=WORK)
REGISTER = _admin(
    "Add a model of another server",
    body=RegisterBody,
    errors=("forbidden_host", "model_exists", "too_many_models"),
)
UNREGISTER = _admin("Take a model of another server away", errors=MODEL)
