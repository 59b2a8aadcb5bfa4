"""The models of the built-in list can be had and converted, and say what they are."""

import json
from pathlib import Path

import pytest

from cupola.cache import catalog_file
from cupola.cache.catalog import BUILT_IN, HubSource, ModelVariant
from cupola.cache.catalog_file import CatalogFileError, built_in, decode_catalog
from cupola.cache.convert.families import FAMILIES
from cupola.cache.home import Home
from cupola.cache.model_address import HubAddress, parse_address

LISTED = built_in()[len(BUILT_IN) :]


def test_there_are_enough_to_choose_from() -> None:
    assert 25 <= len(LISTED) <= 50
    kinds = {tag for variant in LISTED for tag in variant.tags}
    assert kinds == {"chat", "coder", "reasoning", "tools", "embedding", "speech"}
    assert min(v.billions for v in LISTED if "chat" in v.tags) < 1
    assert max(v.billions for v in LISTED) > 30


def test_names_are_there_once() -> None:
    assert len({variant.id.casefold() for variant in built_in()}) == len(built_in())
    assert len({variant.alias for variant in LISTED}) == len(LISTED)


@pytest.mark.parametrize("variant", LISTED, ids=lambda variant: variant.alias)
def test_an_entry_is_complete(variant: ModelVariant) -> None:
    assert variant.license and variant.context_length and variant.publisher
    assert variant.about.endswith(".") and len(variant.about) < 100
    assert variant.size_is_estimate and variant.file_size_mb > 50
    assert set(variant.parameters) <= {"temperature", "top_p", "top_k", "repetition_penalty"}
    assert isinstance(variant.source, HubSource)
    address = HubAddress(variant.source.repository, variant.source.revision, variant.source.part)
    assert parse_address(str(address)) == address
    Home(Path("home")).model_folder(variant.publisher, variant.id)


def test_families_can_be_converted() -> None:
    content = json.loads(Path(catalog_file.__file__).with_name("catalog.json").read_text("utf-8"))
    assert {entry["family"] for entry in content["models"]} <= {*FAMILIES, "bert", "whisper"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is no catalog"),
        (b"[]", "is no catalog"),
        (b'{"models": [{"alias": "a"}]}', "repository"),
        (b'{"models": [{"alias": "a", "repository": "b"}]}', "OWNER/NAME"),
        (b'{"models": [{"alias": "/", "repository": "b/c"}]}', "an alias"),
        (b'{"models": [{"alias": "a", "repository": "b/c", "sze": 1}]}', "sze"),
        (b"[" * 100_000, "is no catalog"),
        (b" " * (5 << 20), "larger than"),
    ],
)
def test_catalogs_that_cannot_be_read(content: bytes, text: str) -> None:
    with pytest.raises(CatalogFileError, match=text):
        decode_catalog(content, "mine.json")
