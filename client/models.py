"""``cupola model``: what can be run, what is on this disk, and how it gets there and away."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.errors import ClientError
from cupola.client.output import Column, Form, Output, print_json, print_table

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant

Name = Annotated[str, typer.Argument(metavar="MODEL", help="An alias, a name or a full id.")]

_COLUMNS = (  # the titles and widths that programs written for Foundry Local know
    Column("Alias", 31),
    Column("Device", 11),
    Column("Task", 15),
    Column("File Size", 13),
    Column("License", 13),
    Column("Model ID"),
)


def list_models(output: Output = Form.TEXT) -> None:
    """List the models of the catalog, and which of them are on this disk.

    Example: cupola model list
    """
    from cupola.cache.store import ModelCache

    cache = ModelCache(home.current())
    cached = {model.variant.id for model in cache.scan()}
    variants = list(cache.catalog())
    if output is Form.JSON:
        print_json({"models": [_record(v, v.id in cached) for v in variants]})
        return
    rows = []
    for alias, group in groupby(variants, key=lambda variant: variant.alias):
        for index, variant in enumerate(group):
            rows.append([alias if index == 0 else "", *_row(variant)])
    print_table(_COLUMNS, rows)
    if cached:
        print(f"\n💾 On this disk: {', '.join(v.id for v in variants if v.id in cached)}")
    else:
        print("\nNone is on this disk yet. To fetch one: cupola model download MODEL")


def info(name: Name, output: Output = Form.TEXT) -> None:
    """Show what is known about a model.

    Example: cupola model info smollm2-135m
    """
    from cupola.cache.errors import NotCachedError
    from cupola.cache.store import ModelCache

    cache = ModelCache(home.current())
    variant = cache.catalog().find(name)[0]
    try:
        path = str(cache.find(variant.id).path)
    except NotCachedError:
        path = ""
    record = _record(variant, bool(path)) | {"path": path}
    if output is Form.JSON:
        print_json(record)
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
        print(f"{title:<20}{record[key]}")
    print(f"{'File size':<20}{_size(variant)}")
    print(f"{'On this disk':<20}{path or 'no; to fetch it: cupola model download ' + name}")


def download(name: Name) -> None:
    """Fetch a model and make it ready to run.

    Example: cupola model download smollm2-135m
    """
    from cupola.cache.errors import NotCachedError
    from cupola.cache.store import ModelCache
    from cupola.client.local_model import downloadable, fetch

    folder = home.current()
    cache = ModelCache(folder)
    try:
        model = cache.find(name)
        print(f"Model {model.variant.id} was found in the local cache.")
    except NotCachedError:
        model = fetch(folder, downloadable(cache, name))
        print(f"Model {model.variant.id} is ready in {model.path}")


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE.gguf", help="A model in a GGUF file.")],
    alias: Annotated[
        str | None, typer.Option(help="Short name of the model. [the file's name]")
    ] = None,
) -> None:
    """Make a model out of a GGUF file on this disk; needs no network.

    Example: cupola model import SmolLM2-135M-Instruct.Q4_1.gguf
    """
    from cupola.cache.install import import_gguf
    from cupola.client import progress

    if not file.is_file():
        raise ClientError(f"There is no file {file}")
    with progress.shown() as report:
        model = import_gguf(file, home.current(), alias, report)
    print(f"Model {model.variant.id} is ready in {model.path}")
    print(f"To chat with it: cupola model run {model.variant.alias}")


def remove(
    name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
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
        typer.confirm(f"Remove {model.variant.id} from local cache?", abort=True)
    cache.remove(model.variant.id)
    print(f"Deleted model {model.variant.id} from the cache.")


def run(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A model. [the settings' default]")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Print the answer to this and leave.")] = None,
    temperature: Annotated[
        float, typer.Option(help="How freely words are chosen; small models ramble above 0.5.")
    ] = 0.2,
) -> None:
    """Chat with a model in the terminal, over the service, which is started if need be.

    Example: cupola model run smollm2-135m --prompt "What is the capital of France?"
    """
    from cupola.client.chat import run as chat

    chat(name, prompt, temperature)


def _row(variant: ModelVariant) -> list[str]:
    task = "chat" if variant.task == "chat-completion" else variant.task
    return [variant.device, task, _size(variant), variant.license, variant.id]


def _size(variant: ModelVariant) -> str:
    return f"{variant.file_size_mb / 1000:.2f} GB" if variant.file_size_mb else "-"


def _record(variant: ModelVariant, cached: bool) -> dict[str, Any]:
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
    }
