"""The command line and the SDK: speaks only the gateway's HTTP contract.

Importing this package loads nothing; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cupola.cache.catalog import DeviceType as DeviceType
    from cupola.cache.catalog import ExecutionProvider as ExecutionProvider
    from cupola.client.errors import ClientError as ClientError
    from cupola.client.errors import DownloadError as DownloadError
    from cupola.client.errors import ModelNotDownloadedError as ModelNotDownloadedError
    from cupola.client.errors import ModelNotFoundError as ModelNotFoundError
    from cupola.client.errors import NoAnswerError as NoAnswerError
    from cupola.client.errors import NotRunningError as NotRunningError
    from cupola.client.errors import ResponseError as ResponseError
    from cupola.client.errors import UnreachableError as UnreachableError
    from cupola.client.sdk.async_manager import AsyncFoundryLocalManager as AsyncFoundryLocalManager
    from cupola.client.sdk.manager import FoundryLocalManager as FoundryLocalManager
    from cupola.client.sdk.manager import FoundryLocalManagerBuilder as FoundryLocalManagerBuilder
    from cupola.client.sdk.records import FoundryModelInfo as FoundryModelInfo

_HOMES = {
    "AsyncFoundryLocalManager": "cupola.client.sdk.async_manager",
    "ClientError": "cupola.client.errors",
    "DeviceType": "cupola.cache.catalog",
    "DownloadError": "cupola.client.errors",
    "ExecutionProvider": "cupola.cache.catalog",
    "FoundryLocalManager": "cupola.client.sdk.manager",
    "FoundryLocalManagerBuilder": "cupola.client.sdk.manager",
    "FoundryModelInfo": "cupola.client.sdk.records",
    "ModelNotDownloadedError": "cupola.client.errors",
    "ModelNotFoundError": "cupola.client.errors",
    "NoAnswerError": "cupola.client.errors",
    "NotRunningError": "cupola.client.errors",
    "ResponseError": "cupola.client.errors",
    "UnreachableError": "cupola.client.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
