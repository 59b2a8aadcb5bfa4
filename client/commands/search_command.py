"""``cupola model search``: models of the catalog and of the hub."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client import home
from cupola.client.commands.output import Column, Form, Output, print_json, print_table

if TYPE_CHECKING:
    from cupola.cache.remote.hub import Found

_COLUMNS = (Column("Model", 56), Column("Downloads", 12), Column("License"))


def search(
    words: Annotated[str, typer.Argument(metavar="WORD", help="A part of the model's name.")],
    limit: Annotated[
        int, typer.Option(min=1, max=100, help="The largest number of models from the hub.")
    ] = 20,
    output: Output = Form.TEXT,
) -> None:
    """Search the catalog, and the hub for models in GGUF and ONNX.

    Example: cupola model search qwen2.5
    """
    import anyio

    from cupola.cache.errors import FetchError
    from cupola.cache.remote.hub import Hub
    from cupola.cache.store import ModelCache
    from cupola.client.commands.filters import narrowed

    listed = narrowed(ModelCache(home.current()).catalog(), None, None, words, None)
    found: list[Found] = []
    trouble = ""
    try:
        found = anyio.run(partial(Hub().search, words, limit))
    except FetchError as error:
        if not listed:
            raise
        trouble = str(error)
    if output is Form.JSON:
        print_json(
            {
                "catalog": [{"alias": v.alias, "id": v.id, "about": v.about} for v in listed],
                "hub": [
                    {
                        "address": f"hf:{each.name}",
                        "downloads": each.downloads,
                        "likes": each.likes,
                        "license": each.license,
                    }
                    for each in found
                ],
            }
        )
        return
    aliases = {variant.alias: variant for variant in listed}
    rows = [[alias, "", variant.license] for alias, variant in aliases.items()]
    rows += [[f"hf:{each.name}", f"{each.downloads:,}", each.license] for each in found]
    if not rows:
        print(f"Nothing has '{words}' in its name.")
        return
    print_table(_COLUMNS, rows)
    if trouble:
        print(f"\nThe hub was not asked: {trouble}")
    print("\nTo fetch one: cupola model download MODEL")
