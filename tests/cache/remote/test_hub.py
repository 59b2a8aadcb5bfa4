"""What the hub answers is believed within bounds: of memory, of pages, of what a text may hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any

import anyio
import pytest

from cupola.cache.errors import FetchError
from cupola.cache.model_address import HubAddress
from cupola.cache.remote.hub import Hub, Repository
from tests.faulty_server import Request, Site
from tests.hub_server import COMMIT

ADDRESS = HubAddress("o/tiny")
INFO = "/api/models/o/tiny/revision/main"
TREE = f"/api/models/o/tiny/tree/{COMMIT}"
LARGEST = 32 << 20  # bytes of an answer


def asked(site: Site) -> Repository:
    hub = Hub({"HF_ENDPOINT": site.url, "HF_TOKEN": "hf_1"})
    return anyio.run(partial(hub.repository, ADDRESS))


def told(value: object, **headers: str) -> Callable[[Request], None]:
    """An answer of JSON."""
    body = json.dumps(value).encode()

    def give(request: Request) -> None:
        request.answer(200, {"Content-Length": str(len(body))} | headers, body)

    return give


@pytest.fixture
def hub(site: Site) -> Site:
    """A hub with one repository, which has one file."""
    site.answers[INFO] = told({"sha": COMMIT})
    site.answers[TREE] = told([entry()])
    return site


def entry(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "path": "x.gguf", "oid": "", "size": 10} | fields


def endless(seen: list[int]) -> Callable[[Request], None]:
    """An answer that goes on for as long as somebody reads it."""

    def give(request: Request) -> None:
        pieces: Iterator[bytes] = repeat(b" " * (1 << 20))
        request.answer(200, {"Connection": "close"})
        seen.append(0)
        for piece in islice(pieces, 500):
            request.wfile.write(piece)
            seen[-1] += len(piece)

    return give


@pytest.mark.parametrize("path", [INFO, TREE])
def test_an_endless_answer(hub: Site, path: str) -> None:
    read: list[int] = []
    hub.answers[path] = endless(read)
    with pytest.raises(FetchError, match="more than"):
        asked(hub)
    assert read[0] < 3 * LARGEST  # with what lies in buffers


@pytest.mark.slow
@pytest.mark.parametrize("page", [[], [entry()]], ids=["empty", "one file"])
def test_pages_without_an_end(hub: Site, page: list[Any]) -> None:
    hub.answers[TREE] = told(page, Link=f'<{hub.url}{TREE}?cursor=1>; rel="next"')
    assert asked(hub).commit == COMMIT
    assert len(hub.requests) < 1000


@pytest.mark.parametrize("size", [-1, -(10**17), 10**30, 1.5, "1", None])
@pytest.mark.parametrize("large", [True, False], ids=["large", "small"])
def test_sizes_that_no_file_has(hub: Site, size: Any, large: bool) -> None:
    lfs = {"lfs": {"oid": "a" * 64, "size": size}}
    hub.answers[TREE] = told([entry(), entry(**(lfs if large else {"size": size}))])
    with pytest.raises(FetchError, match="Check HF_ENDPOINT"):
        asked(hub)


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\0", "\u202egnp", "\x9b2J"])
def test_texts_that_a_terminal_would_obey(hub: Site, text: str) -> None:
    hub.answers[INFO] = told(
        {"sha": COMMIT, "tags": [f"license:{text}"], "gguf": {"architecture": text}}
    )
    hub.answers[TREE] = told([entry(path=f"{text}.gguf"), entry()])
    found = asked(hub)
    assert [file.path for file in found.files] == ["x.gguf"]
    assert found.license == found.architecture == ""
    hub.answers["/api/models"] = told([{"id": f"o/{text}"}, {"id": "o/tiny"}])
    names = anyio.run(partial(Hub({"HF_ENDPOINT": hub.url}).search, "tiny"))
    assert [each.name for each in names] == ["o/tiny"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", INFO])
def test_redirects_that_lead_nowhere_are_not_tried_again(hub: Site, place: str) -> None:
    def give(request: Request) -> None:
        request.answer(302, {"Location": place, "Content-Length": "0"})

    hub.answers[INFO] = give
    with pytest.raises(FetchError, match="redirects"):
        asked(hub)
    assert len(hub.requests) < 15
