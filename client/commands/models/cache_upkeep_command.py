"""``cupola cache prune`` and ``cache verify``: room on the disk, and what is damaged there."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.completion import cached_models
from cupola.client.commands.common.options import Yes
from cupola.client.commands.common.removing import ask, confirm, ids_in_memory, plan, remove
from cupola.client.errors import ClientError
from cupola.client.terminal.figures import bytes_in_words
from cupola.client.terminal.output import Form, Output, print_json

_DAY = 86400


def prune(
    days: Annotated[
        int | None,
        typer.Option("--unused-for", min=0, help="Models that were in no memory for so many days."),
    ] = None,
    most: Annotated[
        float | None,
        typer.Option("--to", min=0, help="Until models take so many GB; unused longest go first."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Delete models by their age or to make room, and what is left of ended downloads.

    Models in memory stay.

    Example: cupola cache prune --unused-for 90
    """
    from cupola.cache.disk.leftovers import leftover_bytes, remove_leftovers
    from cupola.cache.disk.pruning import to_prune
    from cupola.cache.disk.usage import disk_usage

    folder = home.current()
    usage = disk_usage(folder)
    models = to_prune(
        usage.models,
        kept=ids_in_memory(folder, force=False),
        unused_since=None if days is None else time.time() - days * _DAY,
        most_bytes=None if most is None else round(most * 1e9),
    )
    rest = leftover_bytes(folder)
    freed = rest + sum(each.total for each in models)
    if not dry:
        if freed:
            confirm(
                plan(models, rest), f"Remove {bytes_in_words(freed)} from local cache?", yes=yes
            )
        remove(folder, models, set())
        remove_leftovers(folder)
    if output is Form.JSON:
        removed = [each.model.variant.id for each in models]
        print_json({"success": True, "dryRun": dry, "removed": removed, "bytes": freed})
        return
    if not models and not rest:
        print("Nothing is to be removed.")
        return
    print("Would be removed:" if dry else "Removed:")
    print(*plan(models, rest), sep="\n")
    print(f"Together {bytes_in_words(freed)}.")


def adopt(
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    yes: Yes = False,
    output: Output = Form.TEXT,
) -> None:
    """Take models that other programs, or you, put on this disk.

    Looks among the models of Cupola for folders without a description, in the caches of apps with
    Foundry Local's SDKs (linked), and in Hugging Face's cache (copied, or converted).

    Example: cupola cache adopt --dry-run
    """
    from cupola.cache.errors import CacheError
    from cupola.cache.install.found_models import Way, found_models, take
    from cupola.client.commands.common.local_model import import_path

    folder = home.current()
    found = found_models(folder)
    lines = [f"  {each.way}: {each.name}, {each.path}" for each in found]
    if found and not dry:
        ask(["To be taken:", *lines], f"Take {len(found)} models?", yes=yes)
    failed = {}
    for each in found if not dry else ():
        try:
            if each.way is Way.IMPORT:
                import_path(folder, each.path, each.name, None)
            else:
                take(each, folder)
        except (CacheError, OSError) as error:  # one that is of no use costs no other
            failed[each.name] = str(error)
    if output is Form.JSON:
        records = [
            {"name": e.name, "path": str(e.path), "way": e.way, "error": failed.get(e.name)}
            for e in found
        ]
        print_json({"success": not failed, "dryRun": dry, "models": records})
    elif not found:
        print("There are no other models.")
    else:
        print("Would be taken:" if dry else "Taken:")
        print(
            *(line for line, e in zip(lines, found, strict=True) if e.name not in failed), sep="\n"
        )
        for name, reason in failed.items():
            print(f"Not taken: {name}: {reason}")
    if failed:
        raise typer.Exit(1)


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="A model. [all of them]", autocompletion=cached_models
        ),
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Read every file of the models and compare it with what was installed.

    The exit status is 1 if something is damaged.

    Example: cupola cache verify
    """
    from cupola.cache.disk.verification import Health, Verdict
    from cupola.cache.disk.verification import verify as verdicts_of
    from cupola.cache.store import ModelCache

    cache = ModelCache(home.current())
    models, broken = cache.survey()
    if name is not None:
        models, broken = [cache.find(name)], []
    found = []
    unreadable = (Verdict(b.path.name, b.path, Health.DAMAGED, b.reason) for b in broken)
    for verdict in (*verdicts_of(models), *unreadable):
        found.append(verdict)
        if output is Form.TEXT:
            mark = {Health.WHOLE: "🟢", Health.DAMAGED: "🔴", Health.UNKNOWN: "⚪"}[verdict.health]
            reason = verdict.reason or _WORDS[verdict.health.value]
            print(f"{mark} {verdict.name}: {reason}", flush=True)
    damaged = [verdict for verdict in found if verdict.health is Health.DAMAGED]
    if output is Form.JSON:
        records = [
            {"id": v.name, "path": str(v.path), "health": v.health, "reason": v.reason}
            for v in found
        ]
        print_json({"success": not damaged, "models": records})
        if damaged:
            raise typer.Exit(1)
    elif damaged:
        raise ClientError(
            f"Damaged: {', '.join(verdict.name for verdict in damaged)}",
            "To fetch a model again: cupola model download MODEL --force",
        )
    elif not found:
        print("No models are cached on device.")


_WORDS = {
    "whole": "as it was installed",
    "unknown": "not known: it has no digests, because another program has made it",
}
