"""Which model suits a machine, and why a name means the variant that it means. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from cupola.cache.catalog import ExecutionProvider, ModelVariant
from cupola.cache.precision import Precision

# A model in memory: its weights, the runtime's copies of some of them, keys and values, programs.
_MEMORY_OF_SIZE = 1.2
_MEMORY_BESIDE = 500  # MB
_SHARE = 0.8  # of the memory: the rest is for the system and for other programs
# Billions of weights that answer at reading speed on so many cores: every token reads them all.
_QUICK = ((4, 1.8), (8, 4.5), (1 << 30, 8.5))
_FREE = ("apache-2.0", "mit")


@dataclass(frozen=True, slots=True)
class Machine:
    """``memory_mb``: what programs can have; 0: not known."""

    memory_mb: int = 0
    cores: int = 1
    integers: bool = False  # whether the processor multiplies integers quickly

    def fits(self, variant: ModelVariant) -> bool:
        return not self.memory_mb or needed_mb(variant) <= self.memory_mb * _SHARE


def needed_mb(variant: ModelVariant) -> int:
    """About how much memory the model takes when it is loaded."""
    return round(variant.file_size_mb * _MEMORY_OF_SIZE) + _MEMORY_BESIDE


def recommended(variants: Iterable[ModelVariant], machine: Machine) -> ModelVariant | None:
    """The model for general use that this machine runs well; None: none of them."""
    quick = next(billions for cores, billions in _QUICK if machine.cores < cores)
    suited = [
        variant
        for variant in variants
        if "chat" in variant.tags
        and "coder" not in variant.tags
        and variant.license in _FREE
        and variant.provider is ExecutionProvider.CPU
        and variant.billions <= quick
        and machine.fits(variant)
    ]
    # One that calls tools suits more programs.
    return max(
        suited, key=lambda v: ("tools" in v.tags, v.billions, v.created_at, v.id), default=None
    )


def why(
    variants: Sequence[ModelVariant],
    machine: Machine,
    cached: Collection[str],
    providers: Collection[ExecutionProvider],
) -> list[str]:
    """For each variant of a name, in the order in which they are considered: what decides on it.

    ``variants``: best first. ``cached``: the ids of those on the disk.
    """
    runnable = [variant for variant in variants if variant.provider in providers]
    on_disk = [variant for variant in runnable or variants if variant.id in cached]
    taken = next(iter(on_disk or runnable or variants))
    return [f"{v.id}: {_verdict(v, v is taken, machine, cached, providers)}" for v in variants]


def _verdict(
    variant: ModelVariant,
    is_taken: bool,
    machine: Machine,
    cached: Collection[str],
    providers: Collection[ExecutionProvider],
) -> str:
    reasons = []
    if variant.provider not in providers:
        reasons.append(f"this machine has no {variant.provider}")
    if variant.precision is Precision.W8A8:
        has = "does" if machine.integers else "does not (no VNNI, no AMX)"
        reasons.append(f"it is for processors that multiply integers quickly: this one {has}")
    here = variant.id in cached
    reasons.append("it is on this disk" if here else "it is not on this disk, and others go first")
    if is_taken and not here:
        reasons[-1] = "none is on this disk, and it is the best that can be had"
    if not machine.fits(variant):
        reasons.append(f"it needs about {needed_mb(variant)} MB of memory: too much for this one")
    return ("taken; " if is_taken else "not taken; ") + "; ".join(reasons)
