"""Which models go when the disk is to have more room. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cupola.cache.disk.usage import ModelUsage


def to_prune(
    models: Iterable[ModelUsage],
    *,
    kept: Collection[str] = (),
    unused_since: float | None = None,
    most_bytes: int | None = None,
) -> list[ModelUsage]:
    """The models that were not in memory since ``unused_since`` (Unix seconds), and then those
    unused longest until what is left takes ``most_bytes``.

    ``kept``: ids of models that stay, such as those in memory. Their room counts.
    """
    models = list(models)
    size = sum(each.total for each in models)
    gone = []
    for each in sorted(models, key=lambda model: (model.used_at, model.model.variant.id)):
        if each.model.variant.id in kept:
            continue
        is_old = unused_since is not None and each.used_at < unused_since
        is_too_much = most_bytes is not None and size > most_bytes
        if is_old or is_too_much:
            size -= each.total
            gone.append(each)
    return gone
