"""Searches the catalog and the hub for models with a word in their names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant
    from cupola.cache.home import Home
    from cupola.cache.remote.hub import Found


@dataclass(frozen=True, slots=True)
class SearchResult:
    """``trouble``: why the hub gave no answer; empty: it did."""

    listed: list[ModelVariant]  # of the catalog, one of each alias
    found: list[Found]  # on the hub
    trouble: str

    def rows(self) -> list[list[str]]:
        """Name, downloads, license."""
        rows = [[variant.alias, "", variant.license] for variant in self.listed]
        return rows + [
            [f"hf:{each.name}", f"{each.downloads:,}", each.license] for each in self.found
        ]

    def record(self) -> dict[str, Any]:
        """The result in JSON."""
        hub = [
            {
                "address": f"hf:{each.name}",
                "downloads": each.downloads,
                "likes": each.likes,
                "license": each.license,
            }
            for each in self.found
        ]
        catalog = [{"alias": v.alias, "id": v.id, "about": v.about} for v in self.listed]
        return {"catalog": catalog, "hub": hub, "trouble": self.trouble or None}


def search(home: Home, words: str, limit: int) -> SearchResult:
    """Raises FetchError when the hub does not answer and the catalog has nothing."""
    import anyio

    from cupola.cache.errors import FetchError
    from cupola.cache.remote.hub import Hub
    from cupola.cache.store import ModelCache

    wanted = words.casefold()
    named = (
        variant
        for variant in ModelCache(home).catalog()
        if any(wanted in text.casefold() for text in (variant.alias, variant.id, variant.about))
    )
    listed: dict[str, ModelVariant] = {}
    for variant in named:
        listed.setdefault(variant.alias, variant)
    try:
        found, trouble = anyio.run(partial(Hub().search, words, limit)), ""
    except FetchError as error:
        if not listed:
            raise
        found, trouble = [], str(error)
    return SearchResult(list(listed.values()), found, trouble)
