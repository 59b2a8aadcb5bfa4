"""What the shell offers after Tab: names of models, names and values of settings.

The shell waits for it at each Tab: it reads the disk only, and never asks or starts the service.
Ids of models are left out: bash takes their colon for the end of a word. Alias and name mean the
same models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING

import typer

from cupola.client import home

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant

Offer = tuple[str, str]  # a word, and what it means
OWN_KEYS = ("cache-directory", "idle-timeout-minutes")  # of ``config``, beside the settings


def _in_silence(offers: Callable[[typer.Context], Iterable[Offer]]) -> Callable[..., list[Offer]]:
    """Offers nothing, and says nothing, where ``offers`` fails: the command itself will tell it."""

    @wraps(offers)
    def complete(context: typer.Context) -> list[Offer]:
        logging.disable()  # a message would stand in the middle of the command line
        try:
            return list(offers(context))
        except Exception:
            return []
        finally:
            logging.disable(logging.NOTSET)

    return complete


@_in_silence
def catalog_models(context: typer.Context) -> Iterable[Offer]:
    """Every model that there is."""
    from cupola.cache.store import ModelCache

    return _names(list(ModelCache(home.current()).catalog()))


@_in_silence
def cached_models(context: typer.Context) -> Iterable[Offer]:
    """The models on this disk."""
    from cupola.cache.store import ModelCache

    return _names([model.variant for model in ModelCache(home.current()).scan()])


@_in_silence
def settings(context: typer.Context) -> Iterable[Offer]:
    """The settings, and the further keys of ``config``."""
    from cupola.service.settings.texts import FIELDS, summary

    yield from ((key, summary(key)) for key in FIELDS)
    yield from ((key, "") for key in OWN_KEYS)


@_in_silence
def values(context: typer.Context) -> Iterable[Offer]:
    """The values of the setting before, if it has only a few."""
    from cupola.service.settings.texts import choices

    return [(value, "") for value in choices(context.params["key"])]


def _names(variants: Sequence[ModelVariant]) -> Iterable[Offer]:
    aliases = {variant.alias: variant.display_name for variant in variants}
    names = {variant.name: f"{variant.display_name}, {variant.device}" for variant in variants}
    return (aliases | names).items()
