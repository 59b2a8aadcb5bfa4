"""This machine's processor, and whether it multiplies integers quickly."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# Each of them sums products of bytes in 32 bits. Other x86 processors sum in 16, which overflow.
_INTEGER_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# The beginnings of the lines, on x86 and ARM, that decide which kernels a runtime takes.
_DECISIVE = ("vendor_id", "cpu family", "model", "flags", "CPU ", "Features")


def processor() -> str:
    """The make and the instruction sets of the processor, as a text of several lines."""
    try:
        first = _CPU_INFO.read_text("utf-8", "replace").partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = first.splitlines()
    return "\n".join(line for line in lines if line.startswith(_DECISIVE))


@cache
def multiplies_integers() -> bool:
    """Whether integer products are correct and quick here. False: the system does not say."""
    try:
        return has_integer_products(_CPU_INFO.read_text("utf-8", "replace"))
    except OSError:
        return False


def has_integer_products(cpu_info: str) -> bool:
    """Whether the processors of ``cpu_info``, Linux's list, have fast integer products.

    All processors have the same flags, so the first one counts.
    """
    for line in cpu_info.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return not _INTEGER_PRODUCTS.isdisjoint(flags.split())
    return False
