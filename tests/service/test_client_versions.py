"""The page about clients names the versions that the tests have used."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from tests.service.clients import FRAMEWORKS, SYSTEM_ONE, SYSTEM_ONE_NPM

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def test_the_page_names_the_versions_that_were_tried() -> None:
    named = dict(
        re.findall(r"^\| `([\w@/-]+)` \| ([\d.]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    )
    used = {name: version(name) for name in ("openai", "anthropic", "ollama")}
    for requirement in (*FRAMEWORKS, *SYSTEM_ONE):
        name, _, pinned = requirement.partition("==")
        used[name.partition("[")[0]] = pinned
    name, _, used_there = SYSTEM_ONE_NPM.rpartition("@")
    assert named == used | {name: used_there}
