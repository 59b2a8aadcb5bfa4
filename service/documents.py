"""The parts of the documents that are made from the code.

``python -m cupola.service.documents``, run in the checkout, writes them anew: the settings in
``README.md`` and ``docs/settings.md``, the parameters and errors in ``docs/api.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cupola.service import api_tables
from cupola.service.page_tables import filled, table
from cupola.service.settings.texts import Group, default, flag, in_group, meaning, variable
from cupola.service.settings.worker_tables import WorkerTable

MAKER = "cupola.service.documents"
# The settings that most people need; docs/settings.md has all of them.
MAIN = (
    "host",
    "port",
    "home",
    "model",
    "model_ttl",
    "workers",
    "threads",
    "slots",
    "queue_limit",
    "kv_memory_mb",
    "kv_cache",
    "tenants",
    "log_level",
)


def main_settings() -> str:
    """The table of the README."""
    rows = [[f"`{key}`", _default(key), _markdown(meaning(key))] for key in MAIN]
    return table(["setting", "default", "meaning"], rows)


def settings_of(group: Group) -> str:
    """The table of a group in ``docs/settings.md``."""
    rows = [
        [f"`{key}`", f"`{flag(key)}`", f"`{variable(key)}`", _default(key), _markdown(meaning(key))]
        for key in in_group(group)
    ]
    return table(["setting", "flag", "variable", "default", "meaning"], rows)


def worker_fields() -> str:
    """The table of the fields of ``[[workers]]`` in ``docs/settings.md``."""
    rows = []
    for key, field in WorkerTable.model_fields.items():
        (example,) = field.examples or [""]
        line = f"{key} = {_toml(example)}"
        rows.append([f"`{line}`", _markdown(field.title or ""), _markdown(field.description or "")])
    return table(["for example", "what it may be", "meaning"], rows)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


PAGES: Mapping[str, Callable[[str], str]] = {
    "README.md": lambda page: filled(page, {"settings": main_settings}, MAKER),
    "docs/settings.md": lambda page: filled(
        page,
        {f"{group} settings": partial(settings_of, group) for group in Group}
        | {"worker fields": worker_fields},
        MAKER,
    ),
    "docs/api.md": lambda page: filled(page, api_tables.TABLES, MAKER),
}


def _default(key: str) -> str:
    text = default(key)
    return text if text == "empty" else f"`{text}`"


def _markdown(text: str) -> str:
    """Names and values in quotes become code."""
    return re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", text)


def main(folder: Path) -> None:
    """Write the pages of the checkout in ``folder``."""
    for name, write in PAGES.items():
        page = folder / name
        page.write_text(write(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(Path())
