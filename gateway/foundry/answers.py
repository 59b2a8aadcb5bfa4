"""Bodies and answers of Foundry Local's own addresses, for their description."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class ServiceStatus(TypedDict):
    endpoints: list[str]
    modelDirPath: str
    pipeName: str | None
    isAutoRegistrationResolved: bool
    autoRegistrationStatus: str


class ProviderAnswer(TypedDict):
    name: str
    works: bool
    problem: str  # empty where it works
    workers: list[str]  # that run on it


class CacheLocation(TypedDict):
    location: str


class LoadStatus(TypedDict):
    status: Literal["loaded", "already_loaded"]


class UnloadStatus(TypedDict):
    status: Literal["unloaded", "not_loaded"]


class PromptCount(TypedDict):
    tokenCount: int


class DownloadModel(TypedDict):
    Name: NotRequired[str]
    Uri: NotRequired[str]


class DownloadBody(TypedDict):
    """Keys are taken in any case, and further ones are not read."""

    model: DownloadModel | str
    force: NotRequired[bool | None]


class RegisterBody(TypedDict):
    """Keys are taken in any case."""

    ModelName: str
    BaseUri: str
    TypeName: NotRequired[str | None]
    ApiKey: NotRequired[str | None]
