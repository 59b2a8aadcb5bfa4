"""The examples of the documentation, as a reader would run them, with the real model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.cache.catalog import ALL_MINILM_L6_V2
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.client.command_line import COMMAND, LONGEST, Cli
from tests.default_model import DEFAULT_MODEL
from tests.service.running_service import LEAN

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
EXPECTED = {  # what must be in the answer; small models say little that can be relied on
    "chat": r"7 days",
    "streaming": r"(?i)lighthouse",
    "summarise": r"(?i)lighthouse|ship|people",
    "rewrite": r"(?i)\b(please|sorry|thank|could|would|kindly|assist)",
    "translate": r"(?i)\b(je|le|la|les|est|où|gare|bonjour)\b",
    "sentiment": r"^(positive|negative)$",
    "grammar": r"^[12]\d{3}-(0[1-9]|1[0-2])$",
    "embeddings_search": r"^Bread",
    "tools": r"^get_weather .+ (celsius|fahrenheit)$",
}


@pytest.fixture(scope="module")
def reader(
    real_model: Home, real_encoder: Home, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cli]:
    """An environment with the models, and a service once an example has started it."""
    home = Home(tmp_path_factory.mktemp("examples") / "home")
    for source, variant in ((real_model, DEFAULT_MODEL), (real_encoder, ALL_MINILM_L6_V2)):
        folder = ModelCache(source).find(variant.id).path
        place = home.models / folder.relative_to(source.models)
        place.parent.mkdir(parents=True)
        place.symlink_to(folder, target_is_directory=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUPOLA_", "OPENAI_"))}
    lean = {f"CUPOLA_{key.upper()}": str(value) for key, value in LEAN.items()}
    cli = Cli({**clean, **lean, "CUPOLA_HOME": str(home.root), "CUPOLA_PORT": "0"})
    yield cli
    subprocess.run([*COMMAND, "service", "stop"], env=cli.environment, check=True)


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_example(reader: Cli, tmp_path: Path, name: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Lighthouses guide ships at night. Most of them work without people today.")
    arguments = [str(text)] if name == "summarise" else []
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        capture_output=True,
        encoding="utf-8",
        env=reader.environment,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(EXPECTED[name], done.stdout.strip(), re.S), done.stdout
