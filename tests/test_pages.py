"""The pages for people name files and links that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TOP = "cache|client|docs|gateway|loadtests|scheduler|service|tests|workers"
_FILE = re.compile(rf"`((?:{TOP})/(?:[a-z_]\w*/)*(?:[\w-]+\.\w+)?)`")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def named_files(text: str) -> set[str]:
    return set(_FILE.findall(text))


def links(text: str) -> set[str]:
    return {link for link, _ in _LINK.findall(text) if "://" not in link}


def test_there_is_something_to_check() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert len(named_files(text)) > 30 and len(links(text)) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_what_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = {file for file in named_files(text) if not (ROOT / file).exists()}
    missing |= {link for link in links(text) if not (page.parent / link).exists()}
    assert missing == set()


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_a_page_of_proofs_names_tests_that_exist(page: str) -> None:
    named = _TEST.findall((ROOT / "docs" / page).read_text("utf-8"))
    assert len(named) > 25
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file()
        or (name and f"def {name}(" not in (ROOT / file).read_text("utf-8"))
    ]
    assert missing == []
