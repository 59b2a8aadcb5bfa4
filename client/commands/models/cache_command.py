"""``cupola cache``: the models on this disk, with Foundry Local's texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.completion import cached_models
from cupola.client.commands.common.options import (
    CachedName,
    Limit,
    OfKind,
    OnDevice,
    Search,
    Variants,
    Yes,
)
from cupola.client.commands.models import model_command
from cupola.client.commands.service import service_command
from cupola.client.errors import ClientError
from cupola.client.model_record import record
from cupola.client.terminal.output import Column, Form, Output, plain_table, print_json


def list_cached(
    device: OnDevice = None,
    kind: OfKind = None,
    search: Search = None,
    limit: Limit = None,
    variants: Variants = False,
    output: Output = Form.TEXT,
) -> None:
    """List the models on this disk.

    Example: cupola cache list
    """
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common.filters import narrowed

    cached = ModelCache(home.current()).scan()
    wanted = narrowed([model.variant for model in cached], device, kind, search, limit)
    cached = [model for model in cached if model.variant in wanted]
    if output is Form.JSON:
        from cupola.client.commands.common.connection import loaded_ids

        loaded = loaded_ids(home.current())
        records = [
            record(model.variant, True, model.variant.id in loaded) | {"path": str(model.path)}
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
    from cupola.client import models_folder

    folder = home.current()
    path, chosen = models_folder.location(folder), models_folder.is_chosen(folder)
    if output is Form.JSON:
        print_json({"path": str(path), "userSet": chosen or home.is_set()})
    else:
        print(f"💾 Cache directory path: {path}")


def cd(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder for models.")],
    output: Output = Form.TEXT,
) -> None:
    """Keep the models in another folder. Models in the old folder stay there.

    Example: cupola cache cd /data/models
    """
    from cupola.client import models_folder

    models_folder.choose(home.current(), folder)
    if output is Form.JSON:
        service_command.restart_running(quietly=True)
        print_json({"success": True, "message": f"Cache directory: {folder.absolute()}"})
    elif not service_command.restart_running():
        print(f"💾 Cache directory path: {models_folder.location(home.current())}")


def remove(name: CachedName, yes: Yes = False, output: Output = Form.TEXT) -> None:
    """Delete a model from this disk. The same as cupola model remove.

    Example: cupola cache remove smollm2-135m --yes
    """
    model_command.remove(name, yes, output)


def clear(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="A model. [all of them]", autocompletion=cached_models
        ),
    ] = None,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Delete all models from this disk, or one.

    Example: cupola cache clear --yes
    """
    from cupola.cache.store import ModelCache

    if name is not None:
        model_command.remove(name, yes, output)
        return
    cache = ModelCache(home.current())
    found = cache.scan()
    if found and not yes:
        if not sys.stdin.isatty():
            raise ClientError(
                f"Removing {len(found)} models needs a confirmation", "Add --yes to give it"
            )
        typer.confirm(f"Remove {len(found)} models from local cache?", abort=True, err=True)
    for model in found:
        cache.remove(model.variant.id)
        if output is Form.TEXT:
            print(f"Deleted model {model.variant.id} from the cache.")
    if output is Form.JSON:
        print_json({"success": True, "message": f"Deleted {len(found)} models from the cache."})
    elif not found:
        print("No models are cached on device.")
