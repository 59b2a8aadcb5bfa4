"""``cupola cache``: the models on this disk, with Foundry Local's texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cupola.client import home
from cupola.client.commands.common import removing
from cupola.client.commands.common.completion import cached_models
from cupola.client.commands.common.options import (
    CachedName,
    Force,
    Limit,
    OfKind,
    OnDevice,
    Search,
    Variants,
    Yes,
)
from cupola.client.commands.models import model_command
from cupola.client.commands.service import service_command
from cupola.client.model_record import record
from cupola.client.terminal.figures import bytes_in_words
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
    from cupola.cache.disk.usage import disk_usage
    from cupola.client.commands.common.filters import narrowed

    usage = disk_usage(home.current())
    cached = [each.model for each in usage.models]
    wanted = narrowed([model.variant for model in cached], device, kind, search, limit)
    shown = [each for each in usage.models if each.model.variant in wanted]
    if output is Form.JSON:
        from cupola.client.commands.common.connection import loaded_ids

        loaded = loaded_ids(home.current())
        records = [
            record(each.model.variant, True, each.model.variant.id in loaded)
            | {
                "path": str(each.model.path),
                "sizeBytes": each.size,
                "derivedBytes": each.derived,
                "lastUsedAt": round(each.used_at),
            }
            for each in shown
        ]
        print_json({"models": records})
        return
    if not shown:
        print("No models are cached on device. To fetch one: cupola model download MODEL")
        return
    print("Models cached on device:")
    rows = [[each.model.variant.alias, each.model.variant.id] for each in shown]
    head, *lines = plain_table([Column("Alias", 50), Column("Model ID")], rows, rule=False)
    print("   " + head)
    for line in lines:
        print("💾 " + line)
    if sys.stdout.isatty():  # scripts expect a line for each model
        size, derived = sum(each.size for each in shown), sum(each.derived for each in shown)
        print(f"   {bytes_in_words(size)}, and {bytes_in_words(derived)} derived from them")


def location(output: Output = Form.TEXT) -> None:
    """Print the folder that the models are in, and how much room it takes.

    Example: cupola cache location
    """
    from cupola.cache.disk.usage import disk_usage
    from cupola.client import models_folder

    folder = home.current()
    path, chosen = models_folder.location(folder), models_folder.is_chosen(folder)
    usage = disk_usage(folder)
    if output is Form.JSON:
        print_json(
            {
                "path": str(path),
                "userSet": chosen or home.is_set(),
                "modelBytes": usage.size,
                "derivedBytes": usage.derived,
                "unfinishedBytes": usage.unfinished,
                "freeBytes": usage.free,
            }
        )
    else:
        print(f"💾 Cache directory path: {path}")
    if sys.stdout.isatty() and output is Form.TEXT:  # scripts expect one line
        parts = {"models": usage.size, "derived": usage.derived, "unfinished": usage.unfinished}
        words = [f"{name} {bytes_in_words(size)}" for name, size in parts.items()]
        print(f"   {', '.join(words)}; {bytes_in_words(usage.free)} free")


def cd(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder for models.")],
    moves: Annotated[
        bool, typer.Option("--move", help="Move the models there, too. Else they stay.")
    ] = False,
    output: Output = Form.TEXT,
) -> None:
    """Keep the models in another folder. Models that are there already are found.

    Example: cupola cache cd /data/models
    """
    from cupola.cache.disk.moving import move
    from cupola.cache.store import ModelCache
    from cupola.client import models_folder

    here = home.current()
    old = models_folder.location(here)
    paths = [old / model.path.relative_to(here.models) for model in ModelCache(here).scan()]
    models_folder.choose(here, folder)
    if moves and (new := models_folder.location(here)) != old:
        moved = models_folder.before(here, old)
        paths = [moved / path.relative_to(old) for path in paths]
        move(paths, moved, new, lambda path: print(f"Moved {path.name}", file=sys.stderr))
        ModelCache(here).publish()
    if output is Form.JSON:
        service_command.restart_running(quietly=True)
        print_json({"success": True, "message": f"Cache directory: {folder.absolute()}"})
    elif not service_command.restart_running():
        print(f"💾 Cache directory path: {models_folder.location(home.current())}")


def remove(
    name: CachedName, force: Force = False, yes: Yes = False, output: Output = Form.TEXT
) -> None:
    """Delete a model from this disk. The same as cupola model remove.

    Example: cupola cache remove smollm2-135m --yes
    """
    model_command.remove(name, force, yes, output)


def clear(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="A model. [all of them]", autocompletion=cached_models
        ),
    ] = None,
    force: Force = False,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Delete all models from this disk, or one.

    Example: cupola cache clear --yes
    """
    from cupola.cache.disk.usage import disk_usage

    if name is not None:
        model_command.remove(name, force, yes, output)
        return
    folder = home.current()
    found = disk_usage(folder).models
    loaded = removing.ids_in_memory(folder, force=force)
    if not force:
        removing.refuse_loaded(found, loaded)
    if found:
        removing.confirm(
            removing.plan(found), f"Remove {len(found)} models from local cache?", yes=yes
        )
    for each in found:
        removing.remove(folder, [each], loaded)
        if output is Form.TEXT:
            print(f"Deleted model {each.model.variant.id} from the cache.")
    if output is Form.JSON:
        print_json({"success": True, "message": f"Deleted {len(found)} models from the cache."})
    elif not found:
        print("No models are cached on device.")
