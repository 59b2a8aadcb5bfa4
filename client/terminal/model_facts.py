"""The facts about a model as lines of a title and a text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cupola.cache.quality import Quality
from cupola.client.recommendation import needed_mb
from cupola.client.terminal.figures import in_words, size

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant

_TITLES = {
    "id": "Model ID",
    "alias": "Alias",
    "displayName": "Name",
    "publisher": "Publisher",
    "license": "License",
    "task": "Task",
    "device": "Device",
    "executionProvider": "Execution provider",
    "contextLength": "Context length",
    "about": "Good for",
}


def lines(
    about: Mapping[str, Any], variant: ModelVariant, figures: Quality | None, why: Sequence[str]
) -> Iterator[str]:
    """``about``: the record of ``variant``, with what the running service knows of it.

    ``figures``: what was measured when it was imported. ``why``: why its name means it.
    """
    for title, text in _facts(about, variant, figures, why):
        yield f"{title:<20}{text}"


def _facts(
    about: Mapping[str, Any], variant: ModelVariant, figures: Quality | None, why: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for key, title in _TITLES.items():
        if about[key] != "":  # nobody has said what an imported model is good for
            yield title, about[key]
    yield "File size", size(variant) + " (estimate)" * variant.size_is_estimate
    memory = f"about {needed_mb(variant) / 1000:.1f} GB"
    yield "Memory needed", memory + ("" if about["fits"] else ": too much for this machine")
    if variant.parameters:
        advised = (f"{name} {value:g}" for name, value in variant.parameters.items())
        yield "Advised sampling", ", ".join(advised) + "; a request may say otherwise"
    fetch = f"no; to fetch it: cupola model download {variant.id}"
    yield "On this disk", about["path"] or fetch
    reason = f", because {about['engineReason']}" if about["engineReason"] else ""
    yield "Engine", (about["engine"] or "known once the model is loaded") + reason
    if about["fewTokens"]:
        yield "Few tokens", "with a graph of fewer bits, where it is faster"
    if about["loadError"]:
        yield "Not loaded now", about["loadError"]
    if about["kvCache"]:
        yield "Keys and values", about["kvCache"]
    if about["keptBytes"]:
        yield "Kept prompts", f"{about['keptBytes'] / 1e6:.0f} MB"
    if about["reproducible"] is not None:
        yield "Same answer again", "yes" if about["reproducible"] else "not to the bit"
    yield from in_words(figures).items()
    for number, line in enumerate(why):
        yield "" if number else "Why this variant", line
