"""Tables in Markdown pages that are made from the code: what lies between two marks is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

BEGIN, END = "<!-- {} begins: made by {} -->", "<!-- {} ends -->"


def filled(page: str, tables: Mapping[str, Callable[[], str]], maker: str) -> str:
    """A page with its tables made anew.

    ``tables``: what makes a table, by the name in its marks. ``maker``: the module that the marks
    name. Raises ValueError if the page has no marks for a table.
    """
    for name, make in tables.items():
        before, begin, rest = page.partition(BEGIN.format(name, maker))
        _, end, after = rest.partition(END.format(name))
        if not end:
            raise ValueError(f"the page has no place for the table of {name}")
        page = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return page


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
