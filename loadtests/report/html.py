"""A page of plots and tables that needs no other file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1340px; margin: 2em auto; padding: 0 1em;
       color: #1f2328; }}
.plots {{ display: flex; flex-wrap: wrap; gap: 12px; }}
.plots svg {{ width: 640px; max-width: 100%; border: 1px solid #d0d7de; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: 3px 10px; border-bottom: 1px solid #d0d7de; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body><h1>{title}</h1>
"""


def page(title: str, parts: Iterable[str]) -> str:
    return "".join([_HEAD.format(title=escape(title)), *parts, "</body></html>\n"])


def plots(drawings: Iterable[str]) -> str:
    """SVGs side by side."""
    return f'<div class="plots">{"".join(drawings)}</div>\n'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f'<div class="table"><table><tr>{head}</tr>\n{body}</table></div>\n'


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"
