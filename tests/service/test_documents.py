"""The parts of the documents that are made from the code are up to date and complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cupola.service.documents import MAIN, PAGES, main
from cupola.service.page_tables import filled
from cupola.service.settings.settings import Settings
from cupola.service.settings.texts import flag, variable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    page = (ROOT / name).read_text("utf-8")
    assert PAGES[name](page) == page, "run: make docs"


def test_the_page_of_settings_has_every_setting_once() -> None:
    lines = (ROOT / "docs" / "settings.md").read_text("utf-8").splitlines()
    for key, field in Settings.model_fields.items():
        (row,) = [line for line in lines if line.startswith(f"| `{key}` |")]
        assert f"| `{flag(key)}` | `{variable(key)}` |" in row
        assert (field.description or "").replace("'", "`").split(". ")[0] in row.replace("'", "`")


def test_the_readme_has_settings_that_exist() -> None:
    assert set(MAIN) <= set(Settings.model_fields)
    assert len(set(MAIN)) == len(MAIN)


def test_stale_pages_are_written_anew(tmp_path: Path) -> None:
    for name in PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    stale = tmp_path / "docs" / "settings.md"
    stale.write_text(stale.read_text("utf-8").replace("`CUPOLA_PORT`", "`PORT`"), "utf-8")
    main(tmp_path)
    assert stale.read_text("utf-8") == (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of settings"):
        filled("a page", {"settings": lambda: "x"}, "maker")
