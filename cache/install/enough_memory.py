"""Refuses a model that this machine could never load, before any work is done for it."""

from __future__ import annotations

from cupola.cache.errors import NoMemoryError
from cupola.cache.precision import Precision
from cupola.cache.system.machine_memory import memory_bytes

# Bytes of a weight on the disk and in memory, with what the weights of a block share. Embeddings
# and sensitive weights keep more bits.
BYTES_PER_WEIGHT = {
    Precision.INT4: 0.65,
    Precision.INT8: 1.13,
    Precision.W8A8: 1.2,
    Precision.FP16: 2.0,
    Precision.FP32: 4.0,
}
_SHARE = 0.8  # of the memory: what else a model needs, the system, other programs


def need_memory(name: str, size: int, *, weights: int = 0, memory: int | None = None) -> None:
    """Raises NoMemoryError when ``size`` bytes are more than the machine has.

    ``weights``: how many the model has, if that is known: then the error says whether it would fit
    in four bits. ``memory``: of the machine; None: it is asked.
    """
    memory = memory_bytes() if memory is None else memory
    if memory and size > memory:
        raise NoMemoryError(name, size, memory, _what_fits(size, weights, memory))


def need_memory_for_weights(
    name: str, weights: int, precision: Precision, *, memory: int | None = None
) -> None:
    """As ``need_memory``, of so many weights."""
    size = round(weights * BYTES_PER_WEIGHT[precision])
    need_memory(name, size, weights=weights, memory=memory)


def _what_fits(size: int, weights: int, memory: int) -> str:
    four = BYTES_PER_WEIGHT[Precision.INT4]
    small = weights * four
    if weights and small < size and small <= memory * _SHARE:
        return f"In four bits they take {small / 1e9:.1f} GB, which fits: add --bits 4"
    most = memory * _SHARE / four / 1e9
    return (
        f"Up to {most:.1f} billion weights of four bits fit here; "
        "'cupola model list' shows models that do"
    )
