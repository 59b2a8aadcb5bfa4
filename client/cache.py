"""``cupola cache``: the models on this disk, with Foundry Local's texts."""

from __future__ import annotations

from typing import Annotated

import typer

from cupola.client import home, models
from cupola.client.output import Column, Form, Output, plain_table, print_json


def list_cached(output: Output = Form.TEXT) -> None:
    """List the models on this disk.

    Example: cupola cache list
    """
    from cupola.cache.store import ModelCache

    cached = ModelCache(home.current()).scan()
    if output is Form.JSON:
        records = [
            {"alias": model.variant.alias, "id": model.variant.id, "path": str(model.path)}
            for model in cached
        ]
        print_json({"models": records})
        return
    if not cached:
        print("No models are cached on device. To fetch one: cupola model download MODEL")
        return
    print("Models cached on device:")
    rows = [[model.variant.alias, model.variant.id] for model in cached]
    head, *lines = plain_table([Column("Alias", 50), Column("Model ID")], rows, rule=False)
    print("   " + head)
    for line in lines:
        print("💾 " + line)


def location(output: Output = Form.TEXT) -> None:
    """Print the folder that the models are in.

    Example: cupola cache location
    """
    folder = home.current()
    if output is Form.JSON:
        print_json({"path": str(folder.models), "userSet": home.is_set()})
    else:
        print(f"💾 Cache directory path: {folder.models}")


def remove(
    name: models.Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model from this disk: the same as cupola model remove.

    Example: cupola cache remove smollm2-135m --yes
    """
    models.remove(name, yes)
