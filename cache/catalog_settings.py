"""The settings that say what names mean, ``catalogs``, ``aliases`` and ``workers``, and
``download_rate_mb``.

They are part of the service's settings, which check them and explain them. They are read here as
well, because commands that list models must not load all settings: the variables first, then
``cupola.toml``. What cannot be read counts as not set.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cupola.cache.catalog import ExecutionProvider, provider_named
from cupola.cache.home import Home

CATALOGS, ALIASES = "CUPOLA_CATALOGS", "CUPOLA_ALIASES"
DOWNLOAD_RATE, WORKERS = "CUPOLA_DOWNLOAD_RATE_MB", "CUPOLA_WORKERS"


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """``catalogs``: paths and URLs. ``aliases``: what a name in lower case means.

    ``download_rate``: the most bytes a second; 0: no limit. ``providers``: those of the workers.
    """

    catalogs: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    download_rate: float = 0.0
    providers: frozenset[ExecutionProvider] = frozenset({ExecutionProvider.CPU})


def read_catalog_settings(
    home: Home, environment: Mapping[str, str] = os.environ
) -> CatalogSettings:
    """What is set for ``home``."""
    try:
        file = tomllib.loads(home.settings_file.read_text("utf-8"))
    except (OSError, ValueError):  # the settings say what is wrong with it
        file = {}
    catalogs = environment.get(CATALOGS) or items_text(file.get("catalogs", ""))
    aliases = environment.get(ALIASES) or pairs_text(file.get("aliases", ""))
    listed = tuple(item.strip() for item in catalogs.split(",") if item.strip())
    rate = environment.get(DOWNLOAD_RATE) or file.get("download_rate_mb", 0)
    workers = environment.get(WORKERS) or items_text(_devices(file.get("workers", "")))
    return CatalogSettings(listed, pairs(aliases), _bytes(rate), _providers(workers))


def _devices(workers: Any) -> Any:
    """The devices of the workers, which may be tables: [[workers]]."""
    if not isinstance(workers, list):
        return workers
    return [each.get("device", "cpu") if isinstance(each, dict) else each for each in workers]


def _providers(workers: str) -> frozenset[ExecutionProvider]:
    """What the devices in the setting run; a count means CPUs, as does what is no device."""
    found = set()
    for device in workers.split(","):
        try:
            found.add(provider_named(device.partition(":")[0].strip()) or ExecutionProvider.CPU)
        except ValueError:
            found.add(ExecutionProvider.CPU)
    return frozenset(found)


def _bytes(megabytes: Any) -> float:
    try:
        return max(0.0, float(megabytes) * 1e6)
    except (TypeError, ValueError):
        return 0.0


def items_text(value: Any) -> str:
    """A list of texts as one text."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def pairs_text(value: Any) -> str:
    """A table of names, or a list of such pairs, as one text: ``a=b,c=d``."""
    if not isinstance(value, dict):
        return items_text(value)
    return ",".join(f"{name}={meaning}" for name, meaning in value.items())


def pairs(text: str) -> dict[str, str]:
    """The names in ``a=b,c=d``, in lower case, and what they mean. Other items are left out."""
    split = (item.partition("=") for item in text.split(","))
    found = {name.strip().casefold(): meaning.strip() for name, _, meaning in split}
    return {name: meaning for name, meaning in found.items() if name and meaning}
