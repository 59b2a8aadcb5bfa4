"""Where the catalog's models come from, and which source wins.

The disk goes first: what is on it is always listed. Then come the operator's own catalogs, in their
order, and then the list in this package. Of two variants with one id the first counts. An alias
that an operator's catalog has means that catalog's models, and none of this package's list.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import msgspec

from cupola.cache.catalog import Catalog, ModelVariant
from cupola.cache.catalog_file import CatalogFileError, built_in, read_catalog
from cupola.cache.foundry_catalog import foreign_variants
from cupola.cache.home import Home

_log = logging.getLogger(__name__)

AZURE = "azure"  # in the setting ``catalogs``


class CatalogSource(Protocol):
    """A list of models. It is read without a network."""

    def variants(self) -> Iterable[ModelVariant]: ...

    @property
    def owns_aliases(self) -> bool:
        """Whether its aliases mean its models alone, and none of the sources that follow."""


class FixedSource:
    """Variants that are known already, such as those on the disk."""

    owns_aliases = False

    def __init__(self, variants: Sequence[ModelVariant]) -> None:
        self._variants = variants

    def variants(self) -> Sequence[ModelVariant]:
        return self._variants


class BuiltInSource:
    """The list in this package."""

    owns_aliases = False

    def variants(self) -> Sequence[ModelVariant]:
        return built_in()


class OperatorSource:
    """A file of the operator's, or the copy of one that lies on a server.

    One that cannot be read is logged and has no models.
    """

    owns_aliases = True

    def __init__(self, place: str, home: Home) -> None:
        """``place``: a path, from the home folder on, or a URL."""
        self.path = copy_of(place, home) if is_url(place) else _path(place, home)

    def variants(self) -> Sequence[ModelVariant]:
        try:
            return read_catalog(self.path)
        except CatalogFileError as error:
            _log.warning("%s", error)
            return ()


class AzureSourceCopy:
    """The copy of Azure's catalog, and what Foundry Local has noted of it on this disk.

    The copy is made when the catalogs are refreshed. Without one there are the models of the note.
    """

    owns_aliases = False

    def __init__(self, home: Home) -> None:
        self._home = home

    def variants(self) -> Sequence[ModelVariant]:
        noted = foreign_variants(self._home)
        try:
            content = copy_of(AZURE, self._home).read_bytes()
            return (*msgspec.json.decode(content, type=tuple[ModelVariant, ...]), *noted)
        except FileNotFoundError:
            return noted
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("the copy of Azure's catalog cannot be read: %s", error)
            return noted


def named_source(place: str, home: Home) -> CatalogSource:
    """The source that an item of the setting ``catalogs`` means."""
    return AzureSourceCopy(home) if place == AZURE else OperatorSource(place, home)


def merged(
    sources: Iterable[CatalogSource], aliases: Mapping[str, str] = MappingProxyType({})
) -> Catalog:
    """The catalog of ``sources``, the first of which wins. ``aliases``: as in ``Catalog``."""
    found: dict[str, ModelVariant] = {}
    taken: set[str] = set()
    for source in sources:
        own: set[str] = set()
        for variant in source.variants():
            if variant.alias.casefold() not in taken:
                found.setdefault(variant.id.casefold(), variant)
                own.add(variant.alias.casefold())
        taken |= own if source.owns_aliases else set()
    return Catalog(found.values(), aliases=aliases)


def is_url(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def copy_of(url: str, home: Home) -> Path:
    """Where the last copy of a catalog on a server lies."""
    return home.catalogs / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.json"


def _path(place: str, home: Home) -> Path:
    return home.root / Path(place).expanduser()
