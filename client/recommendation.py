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
# Measured with the default model against its variant for integer products, with AVX2 alone.
_FOUR_BITS = (
    "with AVX2 alone four bits answer one client faster (1.2 times) and many slower (0.65 times "
    "for sixteen)"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """``memory_mb``: what programs can have; 0: not known."""

    memory_mb: int = 0
    cores: int = 1
    integers: bool = False  # whether the processor multiplies integers quickly
    instruction_sets: tuple[str, ...] = ()  # of the processor, as far as they matter

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
    """What counts of this machine; then for each variant of a name, best first: what decides on it.

    ``variants``: best first. ``cached``: the ids of those on the disk.
    """
    runnable = [variant for variant in variants if variant.provider in providers]
    on_disk = [variant for variant in runnable or variants if variant.id in cached]
    taken = next(iter(on_disk or runnable or variants))
    place = variants.index(taken)
    lines = [f"this machine: {_of_machine(machine, providers)}"]
    for number, variant in enumerate(variants):
        if variant is taken:
            reasons = [_why_taken(variant, cached, others=len(variants) > 1)]
        else:
            reasons = [_why_not(variant, cached, providers, is_better=number < place)]
        reasons += _remarks(variant, machine, is_taken=variant is taken)
        verdict = "taken" if variant is taken else "not taken"
        lines.append(f"{variant.id}: {verdict}; {'; '.join(reasons)}")
    return lines


def _of_machine(machine: Machine, providers: Collection[ExecutionProvider]) -> str:
    sets = ", ".join(machine.instruction_sets) or "instruction sets not known"
    known = f"{machine.memory_mb / 1000:.0f} GB of memory"
    memory = known if machine.memory_mb else "memory not known"
    devices = ", ".join(sorted(provider.get_alias() for provider in providers))
    shown = f"; it can run: {devices}" if len(providers) < len(ExecutionProvider) else ""
    return f"{machine.cores} cores, {sets}, {memory}{shown}"


def _why_taken(variant: ModelVariant, cached: Collection[str], others: bool) -> str:
    if variant.id not in cached:
        return "none is on this disk, and it is the best that can be had"
    return "it is the best of those on this disk" if others else "it is on this disk"


def _why_not(
    variant: ModelVariant,
    cached: Collection[str],
    providers: Collection[ExecutionProvider],
    is_better: bool,
) -> str:
    if variant.provider not in providers:
        return f"this machine has no {variant.provider}"
    if not is_better:
        return "it comes after the one that is taken"
    if variant.id in cached:
        return "it cannot be run here"
    get = f"cupola model download {variant.id}"
    return f"it would go first, but what is on this disk does; to have it: {get}"


def _remarks(variant: ModelVariant, machine: Machine, *, is_taken: bool) -> list[str]:
    """What else is to be known of a variant on this machine."""
    remarks = []
    if variant.precision is Precision.W8A8:
        has = "does" if machine.integers else "does not (no AVX2, VNNI or AMX)"
        remarks.append(f"it is for processors that multiply integers quickly: this one {has}")
    if variant.precision is Precision.INT4 and not {"VNNI", "AMX"} & {*machine.instruction_sets}:
        remarks.append(_FOUR_BITS + ("" if is_taken else ": to use it, name its id"))
    if not machine.fits(variant):
        need = needed_mb(variant)
        remarks.append(f"it needs about {need} MB of memory: too much for this machine")
    return remarks
