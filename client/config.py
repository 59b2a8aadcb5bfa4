"""``cupola config``: the settings as a service would get them, each with where it came from."""

from __future__ import annotations

from typing import Annotated

import typer

from cupola.client.output import Column, Form, Output, print_json, print_table


def show(
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Print every setting, its value and its source.

    They come from flags, variables (CUPOLA_PORT), cupola.toml, defaults.

    Example: CUPOLA_PORT=8080 cupola config show
    """
    from cupola.gateway.settings import DEFAULT, Settings, load

    resolved = load()
    values = resolved.settings.model_dump(mode="json")
    if as_json or output is Form.JSON:
        print_json(
            [
                {"key": key, "value": value, "source": source, "userSet": source != DEFAULT}
                for (key, value), source in zip(
                    values.items(), resolved.sources.values(), strict=True
                )
            ]
        )
        return
    rows = [
        [key, _text(value), resolved.sources[key], Settings.model_fields[key].description or ""]
        for key, value in values.items()
    ]
    print_table([Column("Setting"), Column("Value"), Column("Source"), Column("Meaning")], rows)


def _text(value: object) -> str:
    # 600.0 reads as 600; an empty text would look like a missing cell
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
