"""Removes models from the disk: the plan is shown, and models in memory are asked about."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from cupola.cache.home import Home
from cupola.client.commands.common.connection import connected, loaded_ids
from cupola.client.errors import ClientError
from cupola.client.terminal.figures import bytes_in_words

if TYPE_CHECKING:
    from cupola.cache.disk.usage import ModelUsage


def ids_in_memory(home: Home, *, force: bool) -> set[str]:
    """The loaded models. With ``force`` a service that does not answer has none."""
    try:
        return loaded_ids(home)
    except ClientError:
        if force:
            return set()
        raise


def refuse_loaded(models: Sequence[ModelUsage], loaded: set[str]) -> None:
    """Raises ClientError if one of ``models`` is in memory."""
    if busy := [each.model.variant.id for each in models if each.model.variant.id in loaded]:
        raise ClientError(
            f"In memory now: {', '.join(busy)}",
            f"Unload it first (cupola model unload {busy[0]}), or add --force",
        )


def confirm(lines: Sequence[str], question: str, *, yes: bool) -> None:
    """Shows ``lines``, the plan, and asks. Raises ClientError where nobody can answer."""
    ask(["To be removed:", *lines], question, yes=yes)


def ask(lines: Sequence[str], question: str, *, yes: bool) -> None:
    """Shows ``lines``, and asks whether to go on. Raises ClientError where nobody can answer."""
    if yes:
        return
    print(*lines, sep="\n", file=sys.stderr)
    if not sys.stdin.isatty():
        raise ClientError("This needs a confirmation", "Add --yes to give it")
    typer.confirm(question, abort=True, err=True)


def plan(models: Sequence[ModelUsage], leftovers: int = 0) -> list[str]:
    """What is deleted, a line a model. ``leftovers``: bytes besides."""
    lines = []
    for each in models:
        derived = f" and {bytes_in_words(each.derived)} derived from it" if each.derived else ""
        size = bytes_in_words(each.size)
        lines.append(f"  {each.model.variant.id}: {size}{derived}, {each.model.path}")
    if leftovers:
        size = bytes_in_words(leftovers)
        lines.append(f"  unfinished downloads, and what models have left that are gone: {size}")
    return lines


def remove(home: Home, models: Sequence[ModelUsage], loaded: set[str]) -> None:
    """Takes ``models`` out of memory and deletes them. Raises ClientError, CacheError."""
    from cupola.cache.disk import uses
    from cupola.cache.store import ModelCache

    for each in models:
        model_id = each.model.variant.id
        if model_id in loaded:
            connected(home).unload(model_id, True)
        ModelCache(home).remove(model_id)
        uses.forget(home, each.model.path)
