"""Which model to take on this machine, for the commands that list and describe models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cupola.cache.system.instruction_sets import instruction_sets
from cupola.cache.system.machine_memory import memory_bytes
from cupola.cache.system.processor import integer_products
from cupola.client.recommendation import Machine, needed_mb, recommended, why

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant
    from cupola.cache.home import Home
    from cupola.cache.store import ModelCache


def this_machine() -> Machine:
    sets = instruction_sets()
    memory = memory_bytes() // 1_000_000
    return Machine(memory, os.cpu_count() or 1, integer_products().quick, sets)


def advice(variants: Iterable[ModelVariant], machine: Machine) -> list[str]:
    """Lines below a list of models."""
    variants = list(variants)
    lines = []
    if best := recommended(variants, machine):
        need = f"about {needed_mb(best) / 1000:.1f} GB of memory"
        lines.append(f"💡 For this machine: {best.alias} ({need}). {best.about}")
    if large := list(dict.fromkeys(v.alias for v in variants if not machine.fits(v))):
        has = f"{machine.memory_mb / 1000:.0f} GB"
        lines.append(f"Too large for the {has} of memory here: {', '.join(large)}")
    return lines


def why_of(cache: ModelCache, name: str) -> list[str]:
    """What decides between the variants that ``name`` means, a line each."""
    from cupola.cache.catalog import UnknownModelError

    try:
        variants = cache.variants(name)
    except UnknownModelError:  # an address
        variants = [cache.find(name).variant]
    cached = {model.variant.id for model in cache.scan()}
    return why(variants, this_machine(), cached, cache.providers)


def refresh_catalogs(home: Home) -> None:
    """Fetch the operator's catalogs that lie on servers; says what went wrong."""
    from cupola.cache.catalog_settings import read_catalog_settings
    from cupola.cache.remote.operator_catalogs import refresh

    for line in refresh(read_catalog_settings(home).catalogs, home):
        print(f"⚠ {line}", file=sys.stderr)
