"""Which models of a list are meant: Foundry Local's ``--filter``, and the options that followed it.

Pure: variants in, variants out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cupola.client.errors import ClientError

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant

_FIELDS: dict[str, Callable[[ModelVariant], str]] = {
    "device": lambda variant: variant.device,
    "task": lambda variant: f"{variant.task},{task_of(variant)}",
    "provider": lambda variant: variant.provider,
    "alias": lambda variant: variant.alias,
    "license": lambda variant: variant.license,
    "tag": lambda variant: ",".join(variant.tags),
}
_TASKS = {
    "chat-completion": "chat",
    "embeddings": "embedding",
    "automatic-speech-recognition": "speech",
    "text-ranking": "ranking",
}


class Device(enum.StrEnum):
    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"


class Kind(enum.StrEnum):
    CHAT = "chat"
    SPEECH = "speech"
    EMBEDDING = "embedding"
    RANKING = "ranking"


def task_of(variant: ModelVariant) -> str:
    """A task as the tables print it."""
    return _TASKS.get(variant.task, variant.task)


def matching(variants: Iterable[ModelVariant], text: str) -> list[ModelVariant]:
    """The variants that ``text`` means, e.g. ``device=GPU``, ``alias=qwen*`` or ``task=!chat``.

    Any case; ``*`` stands for anything; a provider may be named without "ExecutionProvider".
    Raises ClientError.
    """
    key, mark, value = text.partition("=")
    key, value = key.strip().casefold(), value.strip().casefold()
    if not mark or not value.strip("!") or key not in _FIELDS:
        raise ClientError(
            f"'{text}' is not a filter",
            f"A filter is KEY=VALUE or KEY=!VALUE with a KEY of: {', '.join(_FIELDS)}",
        )
    wanted = not value.startswith("!")
    pattern = value.removeprefix("!")

    def is_meant(variant: ModelVariant) -> bool:
        names = _FIELDS[key](variant).casefold().split(",")
        if key == "provider":
            names += [name.removesuffix("executionprovider") for name in names]
        return any(fnmatchcase(name, pattern) for name in names) is wanted

    return [variant for variant in variants if is_meant(variant)]


def narrowed(
    variants: Iterable[ModelVariant],
    device: Device | None,
    kind: Kind | None,
    search: str | None,
    limit: int | None,
) -> list[ModelVariant]:
    """The variants for a device, of a kind, with ``search`` in a name, at most ``limit``."""
    wanted = (search or "").casefold()
    found = [
        variant
        for variant in variants
        if device in (None, variant.device.lower())
        and kind in (None, task_of(variant))
        and any(wanted in name.casefold() for name in (variant.alias, variant.id, variant.about))
    ]
    return found[:limit]
