"""What commands print: rich tables on a terminal, plain stable text in a pipe, JSON on demand."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer


class Form(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="Print text, or one line of JSON.")]


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column. ``width`` is the least one in plain text, the gap after it included."""

    title: str
    width: int = 0


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


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

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
