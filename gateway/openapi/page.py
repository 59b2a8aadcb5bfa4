"""The OpenAPI document as one page of HTML that fetches nothing and reads without scripts. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from cupola.gateway.openapi.described import JSON, Section
from cupola.gateway.openapi.style import SCRIPT, STYLE
from cupola.gateway.openapi.types import Schema, name_of, words

_CODE = re.compile(r"`([^`]+)`")


def page(document: dict[str, Any]) -> str:
    info = document["info"]
    sections = [(tag["name"], tag["description"]) for tag in document["tags"]]
    links = "".join(f'<a href="#{_slug(name)}">{_text(name)}</a>' for name, _ in sections)
    return "\n".join([
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(info['title'])}: the API</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{_text(info['title'])}</h1>",
        f"<p>{_text(info['description'])} Version {_text(info['version'])}; "
        'for programs: <a href="/openapi.json">/openapi.json</a>. In a body, <code>null</code> '
        "means that a parameter is not given.</p>",
        f'<nav>{links}<a href="#schemas">Schemas</a>'
        '<input type="search" placeholder="Filter" aria-label="Filter" hidden></nav>',
        *(_section(document, name, about) for name, about in sections),
        _schemas(document["components"]["schemas"]),
        f"<script>{SCRIPT}</script></html>",
    ])  # fmt: skip


def _section(document: dict[str, Any], name: str, about: str) -> str:
    items: list[str] = []
    for path, operations in document["paths"].items():
        mine = {
            method: operation
            for method, operation in operations.items()
            if operation["tags"] == [name]
        }
        if name == Section.ABSENT and mine:
            items.append(_absent(path, mine))
        elif mine:
            items += [_operation(document, path, *one) for one in mine.items()]
    heading = f'<h2 id="{_slug(name)}">{_text(name)}</h2><p>{_text(about)}</p>'
    return f"<section>{heading}{''.join(items)}</section>"


def _operation(document: dict[str, Any], path: str, method: str, operation: Schema) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>"] if "description" in operation else []
    if parameters := operation.get("parameters"):
        rows = [
            _row(each["name"], each["schema"], each.get("description", ""), each.get("required"))
            for each in parameters
        ]
        parts += ["<h3>In the URL</h3>", _table(rows)]
    if body := operation.get("requestBody"):
        parts.append("<h3>Body</h3>")
        choices = _choices(next(iter(body["content"].values()))["schema"])
        for number, schema in enumerate(choices):
            if len(choices) > 1:
                parts.append(f"<p>{'Or: ' if number else ''}{words(schema)}</p>")
            parts.append(_fields(document["components"]["schemas"], schema))
    parts += ["<h3>Answers</h3>", _table([*_answers(document, operation["responses"])])]
    return _details(f"{method}-{_slug(path)}", method, path, operation["summary"], "".join(parts))


def _absent(path: str, operations: dict[str, Schema]) -> str:
    [operation, *_] = operations.values()
    method = "any" if len(operations) > 1 else next(iter(operations))
    text = f"<p>{_text(', '.join(operations).upper())}: 501 <code>unsupported_endpoint</code></p>"
    return _details(_slug(path), method, path, operation["summary"], text)


def _answers(document: dict[str, Any], responses: dict[str, Schema]) -> Iterator[str]:
    for status, response in responses.items():
        if "$ref" in response:
            response = document["components"]["responses"][name_of(response["$ref"])]
        kinds = [_media(*one) for one in response.get("content", {}).items()]
        yield (
            f"<tr><td>{_text(status)}</td><td>{_text(response['description'])}</td>"
            f"<td>{'<br>'.join(kinds) or 'empty'}</td></tr>"
        )


def _media(media: str, content: Schema) -> str:
    kind = words(content["schema"]) if "schema" in content else ""
    return kind if media == JSON else f"<code>{_text(media)}</code> {kind}"


def _schemas(schemas: dict[str, Schema]) -> str:
    items = [
        _details(f"schema-{name}", "", name, "", _fields(schemas, schema))
        for name, schema in schemas.items()
    ]
    return f'<section><h2 id="schemas">Schemas</h2>{"".join(items)}</section>'


def _fields(schemas: dict[str, Schema], schema: Schema) -> str:
    if "$ref" in schema:
        schema = schemas[name_of(schema["$ref"])]
    about = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    if "properties" not in schema:
        return f"{about}<p>{words(schema)}</p>"
    required = schema.get("required", [])
    names = sorted(schema["properties"], key=lambda name: (name not in required, name))
    rows = [
        _row(name, value, value.get("description", ""), name in required)
        for name in names
        for value in [schema["properties"][name]]
    ]
    return about + _table(rows)


def _row(name: str, schema: Schema, about: str, required: bool | None = False) -> str:
    style = ' class="refused"' if schema.get("deprecated") else ""
    must = ' <b class="must">required</b>' if required else ""
    kind = "" if schema.get("deprecated") else words(schema)
    text = f"<td><code>{_text(name)}</code>{must}</td><td>{kind}</td><td>{_text(about)}</td>"
    return f"<tr{style}>{text}</tr>"


def _table(rows: list[str]) -> str:
    return f"<table>{''.join(rows)}</table>"


def _details(anchor: str, method: str, title: str, summary: str, content: str) -> str:
    label = f'<span class="method {method}">{method.upper()}</span>' if method else ""
    head = f"{label}<code>{_text(title)}</code><span>{_text(summary)}</span>"
    return f'<details id="{anchor}"><summary>{head}</summary><div>{content}</div></details>\n'


def _choices(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf", [schema]))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(text: str) -> str:
    """Escaped; what stands between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))
