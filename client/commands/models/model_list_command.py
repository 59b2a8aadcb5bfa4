"""``cupola model list`` and ``search``: which models there are.

What is done with one model is in ``model_command``.
"""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.connection import loaded_ids
from cupola.client.commands.common.filters import task_of
from cupola.client.commands.common.options import Limit, OfKind, OnDevice, Search, Variants
from cupola.client.model_record import record
from cupola.client.terminal.figures import size
from cupola.client.terminal.output import Column, Form, Output, print_json, print_table

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant

_COLUMNS = (  # the titles and widths that programs written for Foundry Local know
    Column("Alias", 31),
    Column("Device", 11),
    Column("Task", 15),
    Column("File Size", 13),
    Column("License", 13),
    Column("Model ID"),
)


def list_models(
    filter: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="KEY=VALUE or KEY=!VALUE; KEY: device, task, provider, alias, license, tag.",
        ),
    ] = None,
    device: OnDevice = None,
    kind: OfKind = None,
    search: Search = None,
    limit: Limit = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only models on this disk.")] = False,
    loaded: Annotated[bool, typer.Option("--loaded", help="Only models in memory.")] = False,
    fits: Annotated[
        bool, typer.Option("--fits", help="Only models that this machine's memory can hold.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch the operator's catalogs on servers first.")
    ] = False,
    variants: Variants = False,
    output: Output = Form.TEXT,
) -> None:
    """List the models of the catalog, which of them are on this disk, and which to take.

    Example: cupola model list --filter alias=smollm*
    """
    from cupola.cache.store import ModelCache
    from cupola.client.advice import advice, refresh_catalogs, this_machine
    from cupola.client.commands.common.filters import matching, narrowed

    cache = ModelCache(home.current())
    if refresh:
        refresh_catalogs(cache.home)
    models = cache.scan()
    on_disk = {model.variant.id for model in models}
    in_memory = loaded_ids(home.current()) if loaded or output is Form.JSON else set()
    found = [
        variant
        for variant in cache.catalog_with(models)
        if (variant.id in on_disk or not cached) and (variant.id in in_memory or not loaded)
    ]
    if filter is not None:
        found = matching(found, filter)
    found = narrowed(found, device, kind, search, limit)
    here = this_machine()
    if fits:
        found = [variant for variant in found if here.fits(variant)]
    if output is Form.JSON:
        records = [
            record(v, v.id in on_disk, v.id in in_memory) | {"fits": here.fits(v)} for v in found
        ]
        print_json({"models": records})
        return
    rows = []
    for alias, group in groupby(_by_alias(found, on_disk), key=lambda variant: variant.alias):
        for index, variant in enumerate(group):
            rows.append([alias if index == 0 else "", *_row(variant)])
    print_table(_COLUMNS, rows)
    print()
    for line in advice(found, here):
        print(line)
    if cached_ids := [variant.id for variant in found if variant.id in on_disk]:
        print(f"💾 On this disk: {', '.join(cached_ids)}")
    elif not on_disk:
        print("None is on this disk yet. To fetch one: cupola model download MODEL")


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
    from cupola.client import hub_search

    result = hub_search.search(home.current(), words, limit)
    if output is Form.JSON:
        print_json(result.record())
        return
    if rows := result.rows():
        print_table((Column("Model", 56), Column("Downloads", 12), Column("License")), rows)
        print("\nTo fetch one: cupola model download MODEL")
    else:
        print(f"Nothing has '{words}' in its name.")
    if result.trouble:
        print(f"The hub gave no answer: {result.trouble}", file=sys.stderr)


def _by_alias(variants: list[ModelVariant], on_disk: set[str]) -> list[ModelVariant]:
    """The variants of an alias follow each other.

    Those on the disk come first, in the order of preference, and then the others from small to
    large; what makes no text comes last.
    """
    here = {variant.alias for variant in variants if variant.id in on_disk}
    places: dict[str, tuple[bool, bool, float, int]] = {}
    for place, variant in enumerate(variants):
        is_here, chats = variant.alias in here, variant.task == "chat-completion"
        size = 0.0 if is_here else variant.billions
        places.setdefault(variant.alias, (not is_here, not chats, size, place))
    return sorted(variants, key=lambda variant: places[variant.alias])


def _row(variant: ModelVariant) -> list[str]:
    return [variant.device, task_of(variant), size(variant), variant.license, variant.id]
