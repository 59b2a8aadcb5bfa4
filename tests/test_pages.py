"""The pages for people name files, links and sections that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MEASUREMENTS = ROOT / "docs" / "measurements"
TOP = "cache|client|docs|gateway|loadtests|scheduler|service|tests|workers"
_FILE = re.compile(rf"`((?:{TOP})/(?:[a-z_]\w*/)*(?:[\w-]+\.\w+)?)`")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
_LINK = re.compile(r"\]\(([^)\s#]*)#?([^)\s]*)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named_files(text: str) -> set[str]:
    return set(_FILE.findall(text))


def links(text: str) -> set[tuple[str, str]]:
    """The pages that a page links to, each with the section, or "". Its own page is ""."""
    return {(link, section) for link, section in _LINK.findall(text) if "://" not in link}


def sections(text: str) -> set[str]:
    """What links call the sections of a page: their headings, as GitHub writes them."""
    headings = _HEADING.findall(_CODE_BLOCK.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert len(named_files(text)) > 30 and len(links(text)) > 10


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_a_page_names_what_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = {file for file in named_files(text) if not (ROOT / file).exists()}
    missing |= {link for link, _ in links(text) if not (page.parent / link).exists()}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_a_link_to_a_section_finds_it(page: Path) -> None:
    missing = {
        f"{link}#{section}"
        for link, section in links(page.read_text("utf-8"))
        if section
        and section not in sections((page.parent / link if link else page).read_text("utf-8"))
    }
    assert missing == set()


def test_sections_are_named_as_links_name_them() -> None:
    page = "# A `--flag` of 1.07B, and what it's for\n```\n# no heading\n```\n"
    assert sections(page) == {"a---flag-of-107b-and-what-its-for"}


def test_the_index_has_every_page_of_measurements() -> None:
    index = {link for link, _ in links((MEASUREMENTS / "README.md").read_text("utf-8"))}
    pages = {page.name for page in MEASUREMENTS.glob("*.md")} - {"README.md"}
    assert len(pages) > 10 and pages - index == set()


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
