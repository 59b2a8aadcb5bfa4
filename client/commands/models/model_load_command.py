"""``cupola model load``, ``cupola model unload`` and ``cupola service ps``."""

from __future__ import annotations

from typing import Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.connection import connected, loaded_ids
from cupola.client.commands.common.options import CachedName, Ttl
from cupola.client.terminal.output import Column, Form, Output, plain_table, print_json


def load(name: CachedName, ttl: Ttl = None, output: Output = Form.TEXT) -> None:
    """Load a model into the service's memory. Without it, its first use loads it.

    Example: cupola model load smollm2-135m --ttl 3600
    """
    from cupola.cache.store import ModelCache

    folder = home.current()
    variant = ModelCache(folder).find(name).variant
    connection = connected(folder, start=True)
    if output is Form.TEXT:
        print("🕓 Loading model...", flush=True)
    connection.load(variant.id, ttl)
    if output is Form.JSON:
        message = f"Loaded '{variant.alias}' ({variant.device} variant '{variant.id}') into memory."
        print_json({"success": True, "message": message})
    else:
        print(f"🟢 Model {variant.id} loaded successfully")


def unload(
    name: CachedName,
    force: Annotated[
        bool, typer.Option(help="Also when a time to live keeps it in memory.")
    ] = True,
    output: Output = Form.TEXT,
) -> None:
    """Take a model out of the service's memory.

    Example: cupola model unload smollm2-135m
    """
    from cupola.cache.catalog import UnknownModelError
    from cupola.cache.model_config import alias_of
    from cupola.cache.store import ModelCache

    folder = home.current()
    loaded = loaded_ids(folder)
    try:
        meant = {variant.id for variant in ModelCache(folder).catalog().find(name)} & loaded
    except UnknownModelError:  # its files may have been deleted
        meant = {each for each in loaded if name.casefold() in (each.casefold(), alias_of(each))}
        if not meant:
            raise
    if not meant:
        message = f"Model {name} is not loaded"
    else:
        connection = connected(folder)
        for model_id in sorted(meant):
            connection.unload(model_id, force)
        message = f"Unloaded '{', '.join(sorted(meant))}' from memory."
    if output is Form.JSON:
        print_json({"success": True, "message": message})
    elif not meant:
        print(message)
    else:
        for model_id in sorted(meant):
            print(f"🔴 Model {model_id} unloaded successfully")


def ps(output: Output = Form.TEXT) -> None:
    """List the models in the service's memory.

    Example: cupola service ps
    """
    from cupola.cache.store import ModelCache

    folder = home.current()
    loaded = connected(folder).loaded()
    aliases = {model.variant.id: model.variant.alias for model in ModelCache(folder).scan()}
    rows = [[aliases.get(model_id, model_id), model_id] for model_id in loaded]
    if output is Form.JSON:
        records = [{"alias": alias, "id": model_id} for alias, model_id in rows]
        print_json({"models": records})
    elif not rows:
        print("No models are currently loaded in the service")
    else:
        print("Models running in service:")
        head, *lines = plain_table([Column("Alias", 31), Column("Model ID")], rows, rule=False)
        print("    " + head)
        for line in lines:
            print("🟢  " + line)
