"""The tables of ``docs/api.md``: parameters of every endpoint, and errors. Made from the code.

``python -m cupola.gateway.parameters docs/api.md`` writes them anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cupola.gateway.errors import PROMPT, TABLE
from cupola.gateway.schemas.chat import ChatRequest
from cupola.gateway.schemas.completion import CompletionRequest
from cupola.gateway.schemas.validation import Endpoint

# The bodies of requests, by the column that they have in the table.
ENDPOINTS: tuple[tuple[str, type[Endpoint]], ...] = (
    ("/v1/chat/completions", ChatRequest),
    ("/v1/completions", CompletionRequest),
)
HONOURED, LABEL, UNKNOWN = "yes", "label", ""
BEGIN, END = "<!-- {} begins: made by cupola.gateway.parameters -->", "<!-- {} ends -->"


def treatment(body: type[Endpoint], param: str) -> str:
    """What an endpoint does with a parameter."""
    refused = {known: hint for known, _, hint in body.refused}
    if param not in names(body):
        return UNKNOWN
    if param in refused:
        return f"refused: {refused[param]}"
    return LABEL if param in body.labels else HONOURED


def names(body: type[Endpoint]) -> list[str]:
    return [field.alias or name for name, field in body.model_fields.items()]


def parameter_table() -> str:
    every = sorted({name for _, body in ENDPOINTS for name in names(body)})
    rows = [[f"`{name}`", *(treatment(body, name) for _, body in ENDPOINTS)] for name in every]
    return _table(["parameter", *(f"`{path}`" for path, _ in ENDPOINTS)], rows)


def error_table() -> str:
    rows = []
    for code, shape in TABLE.items():
        param = "the prompt's name" if shape.param == PROMPT else shape.param or ""
        again = " ".join(f"`{name}: {value}`" for name, value in (shape.headers or {}).items())
        rows.append([code.value, str(shape.status), shape.kind, f"`{shape.code}`", param, again])
    return _table(["what failed", "status", "type", "code", "param", "headers"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES = {"parameters": parameter_table, "errors": error_table}


def written(text: str) -> str:
    """A page with its tables made anew, between their marks."""
    for name, make in TABLES.items():
        before, begin, rest = text.partition(BEGIN.format(name))
        _, end, after = rest.partition(END.format(name))
        if not end:
            raise ValueError(f"the page has no place for the table of {name}")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


def main(arguments: list[str]) -> None:
    for path in map(Path, arguments):
        path.write_text(written(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
