"""Which idle models are unloaded to make room for another. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cupola.workers.residency import Resident

# A model takes more than its weights: its graph, the memory of its runs and its keys and values.
_ROOM = 1.2
_FOUR_BITS = 0.65  # bytes of a weight, with scales and what keeps more bits


class NoRoomError(Exception):
    """The model does not fit. The text has the figures and says what to do."""


def to_evict(
    model_id: str, needed: int, copied: int, available: int, residents: Iterable[Resident]
) -> list[Resident]:
    """The least recently used idle models without which the new one fits. Raises NoRoomError.

    ``needed``: bytes of its weights; ``copied``: of those that it can do without. A model that is
    pinned or in use stays, and so does one that a client can rely on. A model is refused only if
    its weights alone do not fit.
    """
    idle = [r for r in residents if not (r.in_use or r.pinned or r.promised or r.after_unload)]
    idle.sort(key=lambda resident: resident.last_used)
    chosen: list[Resident] = []
    for resident in idle:
        if available >= (needed + copied) * _ROOM:
            break
        chosen.append(resident)
        available += resident.needed
    if available < needed:
        text = (
            f"the model '{model_id}' needs {_gigabytes(needed)} of memory for its weights, but "
            f"{_gigabytes(available)} can be had; unload other models, or use one that fits: up to "
            f"{available / _FOUR_BITS / 1e9:.1f} billion weights of four bits ('cupola model "
            f"quantize' makes variants)"
        )
        raise NoRoomError(text)
    return chosen


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
