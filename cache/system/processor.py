"""This machine's processor, and how it multiplies integers."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# Each of them sums products of bytes in 32 bits. Other x86 processors sum in 16, which overflow.
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# The beginnings of the lines, on x86 and ARM, that decide which kernels a runtime takes.
_DECISIVE = ("vendor_id", "cpu family", "model", "flags", "CPU ", "Features")


@dataclass(frozen=True, slots=True)
class IntegerProducts:
    """``quick``: quicker than products with weights in blocks, as far as is known."""

    quick: bool = False
    saturate: bool = False  # those of unsigned with signed bytes, which are then wrong


def processor() -> str:
    """The make and the instruction sets of the processor, as a text of several lines."""
    try:
        first = _CPU_INFO.read_text("utf-8", "replace").partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = first.splitlines()
    return "\n".join(line for line in lines if line.startswith(_DECISIVE))


@cache
def integer_products() -> IntegerProducts:
    """Those of this machine; neither of both where the system does not say."""
    try:
        return integer_products_of(_CPU_INFO.read_text("utf-8", "replace"))
    except OSError:
        return IntegerProducts()


def integer_products_of(cpu_info: str) -> IntegerProducts:
    """Those of the processors of ``cpu_info``, Linux's list.

    All processors have the same flags, so the first one counts.
    """
    for line in cpu_info.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            sets = frozenset(flags.split())
            wide = not _WIDE_SUMS.isdisjoint(sets)
            return IntegerProducts(quick=wide or "avx2" in sets, saturate=not wide)
    return IntegerProducts()
