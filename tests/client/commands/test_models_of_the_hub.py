"""Models from the hub at the command line: found, fetched, used again without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.cache.home import Home
from tests.cache.convert.tiny_gguf import TinyModel
from tests.client.command_line import Cli
from tests.hub_server import HubServer, hub_server

pytestmark = pytest.mark.slow

REPOSITORY = "Tiny-Org/Tiny-Model-GGUF"
ADDRESS = f"hf:{REPOSITORY}"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    gguf = TinyModel().write(tmp_path / "tiny.gguf").read_bytes()
    with hub_server() as server:
        server.add(REPOSITORY, {"README.md": b"#", "tiny-q8_0.gguf": gguf})
        yield server


def test_a_model_is_found_fetched_and_used_offline(
    cupola: Cli, hub: HubServer, home: Home, tmp_path: Path
) -> None:
    online = cupola.having(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "none"))
    text = online.ok("model", "search", "tiny")
    assert ADDRESS in text and "cupola model download" in text
    found = json.loads(online.ok("model", "search", "tiny", "-o", "json"))
    assert [each["address"] for each in found["hub"]] == [ADDRESS]
    assert "is ready in" in online.ok("model", "import", ADDRESS, "--name", "Mine")
    offline = cupola.having(HF_ENDPOINT="http://127.0.0.1:1")
    assert "was found in the local cache" in offline.ok("model", "download", ADDRESS)
    record = json.loads(offline.ok("model", "info", "mine", "--why", "-o", "json"))
    assert record["cached"] and record["alias"] == "mine"
    assert record["why"][1:] == [f"{record['id']}: taken; it is on this disk"]
    assert record["why"][0].startswith("this machine: ")
    assert json.loads((home.models / "foundry.modelinfo.json").read_text())["models"]


def test_a_search_without_the_hub_still_has_the_catalog(cupola: Cli) -> None:
    offline = cupola.having(HF_ENDPOINT="http://127.0.0.1:1", CUPOLA_ALIASES="a=b")
    done = offline("model", "search", "coder")
    assert done.returncode == 0
    assert "qwen2.5-coder-7b" in done.stdout
    assert "The hub gave no answer" in done.stderr


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hf:nothing", "Write it as hf:OWNER/NAME"),
        ("ftp://x/y.gguf", "neither hf: nor https://"),
        ("nowhere", "There is no file or folder nowhere"),
    ],
)
def test_what_is_no_source(cupola: Cli, source: str, text: str) -> None:
    assert text in cupola.refused("model", "import", source)


def test_a_list_says_which_model_to_take(cupola: Cli) -> None:
    text = cupola.ok("model", "list")
    assert "For this machine: " in text
    records = json.loads(cupola.ok("model", "list", "--fits", "-o", "json"))["models"]
    assert records and all(record["fits"] for record in records)
    coders = json.loads(cupola.ok("model", "list", "--filter", "tag=coder", "-o", "json"))
    assert {tag for record in coders["models"] for tag in record["tags"]} >= {"coder"}
