"""``cupola model``: list, describe, download, import and remove models.

``load`` and ``unload`` are in ``model_load_command``.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.connection import loaded_ids
from cupola.client.commands.filters import task_of
from cupola.client.commands.options import (
    CachedName,
    Limit,
    Name,
    OfKind,
    OnDevice,
    Search,
    Variants,
    Yes,
)
from cupola.client.errors import ClientError
from cupola.client.terminal.output import (
    Column,
    Form,
    Output,
    print_json,
    print_table,
    report_success,
)

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
            "--filter", help="KEY=VALUE or KEY=!VALUE; KEY: device, task, provider, alias."
        ),
    ] = None,
    device: OnDevice = None,
    kind: OfKind = None,
    search: Search = None,
    limit: Limit = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only models on this disk.")] = False,
    loaded: Annotated[bool, typer.Option("--loaded", help="Only models in memory.")] = False,
    variants: Variants = False,
    output: Output = Form.TEXT,
) -> None:
    """List the models of the catalog, and which of them are on this disk.

    Example: cupola model list --filter alias=smollm*
    """
    from cupola.cache.store import ModelCache
    from cupola.client.commands.filters import matching, narrowed

    cache = ModelCache(home.current())
    on_disk = {model.variant.id for model in cache.scan()}
    in_memory = loaded_ids(home.current()) if loaded or output is Form.JSON else set()
    found = [
        variant
        for variant in cache.catalog()
        if (variant.id in on_disk or not cached) and (variant.id in in_memory or not loaded)
    ]
    if filter is not None:
        found = matching(found, filter)
    found = narrowed(found, device, kind, search, limit)
    if output is Form.JSON:
        print_json({"models": [record(v, v.id in on_disk, v.id in in_memory) for v in found]})
        return
    rows = []
    for alias, group in groupby(_by_alias(found), key=lambda variant: variant.alias):
        for index, variant in enumerate(group):
            rows.append([alias if index == 0 else "", *_row(variant)])
    print_table(_COLUMNS, rows)
    if here := [variant.id for variant in found if variant.id in on_disk]:
        print(f"\n💾 On this disk: {', '.join(here)}")
    elif not on_disk:
        print("\nNone is on this disk yet. To fetch one: cupola model download MODEL")


def info(
    name: Name,
    license: Annotated[bool, typer.Option("--license", help="Only its license.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Show the facts about a model.

    Example: cupola model info smollm2-135m
    """
    from msgspec import to_builtins

    from cupola.cache.errors import NotCachedError
    from cupola.cache.store import ModelCache
    from cupola.client.terminal.figures import in_words

    cache = ModelCache(home.current())
    variant = cache.catalog().find(name)[0]
    try:
        cached = cache.find(variant.id)
        path, figures = str(cached.path), cached.quality
    except NotCachedError:
        path, figures = "", None
    about = record(variant, bool(path)) | {"path": path}
    if license and output is Form.TEXT:
        print(variant.license or "unknown")
        return
    served = _served(variant.id) if path else {}
    about |= {"engine": served.get("engine"), "engineReason": served.get("engineReason")}
    about["kvCache"] = served.get("kvCache")
    about["quality"] = to_builtins(figures)
    if output is Form.JSON:
        print_json(about | {"loaded": bool(served.get("loaded"))})
        return
    titles = {
        "id": "Model ID",
        "alias": "Alias",
        "displayName": "Name",
        "publisher": "Publisher",
        "license": "License",
        "task": "Task",
        "device": "Device",
        "executionProvider": "Execution provider",
        "contextLength": "Context length",
    }
    for key, title in titles.items():
        print(f"{title:<20}{about[key]}")
    print(f"{'File size':<20}{_size(variant)}")
    print(f"{'On this disk':<20}{path or 'no; to fetch it: cupola model download ' + name}")
    reason = f", because {about['engineReason']}" if about["engineReason"] else ""
    print(f"{'Engine':<20}{about['engine'] or 'known once the model is loaded'}{reason}")
    if about["kvCache"]:
        print(f"{'Keys and values':<20}{about['kvCache']}")
    for title, words in in_words(figures).items():
        print(f"{title:<20}{words}")


def download(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Download it again if it is on this disk.")
    ] = False,
    output: Output = Form.TEXT,
) -> None:
    """Download a model and make it ready to run.

    Example: cupola model download smollm2-135m
    """
    from cupola.cache.errors import NotCachedError
    from cupola.cache.store import ModelCache
    from cupola.client.commands import local_model

    folder = home.current()
    cache = ModelCache(folder)
    try:
        cached: ModelVariant | None = cache.find(name).variant
    except NotCachedError:
        cached = None
    if cached is not None and not force:
        message = f"Model {cached.id} was found in the local cache."
    else:
        variant = local_model.downloadable(cache, cached.id if cached else name)
        if output is Form.TEXT:
            print(f"Downloading {variant.id}...", flush=True)
        model = local_model.download(folder, variant, force=force)
        message = f"Model {model.variant.id} is ready in {model.path}"
        if output is Form.TEXT:
            print(f"[{'#' * 36}] 100.00 %")
    report_success(message, output)


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE.gguf", help="A model in a GGUF file.")],
    alias: Annotated[
        str | None, typer.Option(help="Short name of the model. [the file's name]")
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Make a model out of a GGUF file on this disk. This needs no network.

    Example: cupola model import SmolLM2-135M-Instruct.Q4_1.gguf
    """
    from cupola.client.commands import local_model

    if not file.is_file():
        raise ClientError(f"There is no file {file}")
    model = local_model.import_file(home.current(), file, alias)
    message = f"Model {model.variant.id} is ready in {model.path}"
    report_success(message, output, **record(model.variant, True))
    if output is Form.TEXT:
        print(f"To chat with it: cupola model run {model.variant.alias}")


def remove(
    name: CachedName,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Delete a model from this disk.

    Example: cupola model remove smollm2-135m --yes
    """
    from cupola.cache.store import ModelCache

    cache = ModelCache(home.current())
    model = cache.find(name)
    if not yes:
        if not sys.stdin.isatty():
            raise ClientError(
                f"Removing {model.variant.id} needs a confirmation", "Add --yes to give it"
            )
        typer.confirm(f"Remove {model.variant.id} from local cache?", abort=True, err=True)
    cache.remove(model.variant.id)
    message = f"Deleted model {model.variant.id} from the cache."
    report_success(message, output)


def _served(model_id: str) -> dict[str, Any]:
    """The running service's record of a model; empty when none runs."""
    from cupola.client.running_service import find
    from cupola.client.sdk.connection import Connection

    try:
        service = find(home.current())
        return Connection(service.url, 5.0).model(model_id) if service else {}
    except (ClientError, ValueError):
        return {}


def _by_alias(variants: list[ModelVariant]) -> list[ModelVariant]:
    """The variants of an alias follow each other; the aliases are in the order of their best."""
    first = {variant.alias: place for place, variant in reversed(list(enumerate(variants)))}
    return sorted(variants, key=lambda variant: first[variant.alias])


def _row(variant: ModelVariant) -> list[str]:
    return [variant.device, task_of(variant), _size(variant), variant.license, variant.id]


def _size(variant: ModelVariant) -> str:
    return f"{variant.file_size_mb / 1000:.2f} GB" if variant.file_size_mb else "-"


def record(variant: ModelVariant, cached: bool, loaded: bool = False) -> dict[str, Any]:
    """A model in JSON."""
    return {
        "id": variant.id,
        "alias": variant.alias,
        "displayName": variant.display_name,
        "publisher": variant.publisher,
        "license": variant.license,
        "task": variant.task,
        "device": variant.device,
        "executionProvider": variant.provider,
        "fileSizeMb": variant.file_size_mb,
        "contextLength": variant.context_length,
        "maxOutputTokens": variant.max_output_tokens,
        "cached": cached,
        "loaded": loaded,
    }
