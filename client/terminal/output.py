"""What commands print: rich tables on a terminal, plain stable text in a pipe, JSON on demand."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Form(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="Print text, or one line of JSON.")]


def asked_form(arguments: Sequence[str]) -> Form:
    """The form that a command line asks for, also one that cannot be parsed."""
    options = list(takewhile("--".__ne__, arguments))
    is_json = any(word in ("-ojson", "--output=json", "--json") for word in options) or any(
        option in ("-o", "--output") and form == Form.JSON for option, form in pairwise(options)
    )
    return Form.JSON if is_json else Form.TEXT


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    ``width`` is the least one in plain text, the gap after it included. ``is_prose``: the last
    column is sentences, which stand below their row on a terminal that is too narrow for both.
    """

    title: str
    width: int = 0
    is_prose: bool = False


def print_json(value: object) -> None:
    """One line of JSON on standard output. What is no number is null."""
    shown = _with_null(value)
    print(json.dumps(shown, ensure_ascii=False, separators=(",", ":"), default=str))


def _with_null(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _with_null(each) for key, each in value.items()}
        case list() | tuple():
            return [_with_null(each) for each in value]
    return value


def report_success(text: str, form: Form, **facts: object) -> None:
    """Tell what was done. ``facts`` are further keys of the JSON."""
    if form is Form.JSON:
        print_json({"success": True, "message": text, **facts})
    else:
        print(text)


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], rule: bool = True
) -> None:
    """A table on standard output; ``rule`` draws a line under the titles in plain text."""
    if sys.stdout.isatty():
        _print_rich(columns, rows)
    else:
        print("\n".join(plain_table(columns, rows, rule)))


def plain_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], rule: bool = True
) -> list[str]:
    """Lines whose columns are at least two spaces apart, which is what scripts split at."""
    lines = [[column.title for column in columns], *rows]
    widths = [
        max(column.width, 2 + max(len(line[index]) for line in lines))
        for index, column in enumerate(columns)
    ]
    text = [
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return [text[0], "-" * max(map(len, text)), *text[1:]] if rule else text


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if columns[-1].is_prose and max(map(len, plain_table(columns, rows))) > console.width:
        _print_below(console, rows)
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_below(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Each row on a line, its last cell below it."""
    from rich.padding import Padding
    from rich.text import Text

    names = max(len(row[0]) for row in rows)
    for name, *cells, prose in rows:
        line = Text(name.ljust(names), style="bold").append("  " + "  ".join(cells), style="none")
        console.print(line, overflow="fold")
        console.print(Padding(Text(prose, style="dim"), (0, 0, 0, 4)))
