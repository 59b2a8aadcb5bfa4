"""What this machine's processor is, and what it multiplies quickly."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# Any of them sums products of bytes in 32 bits; other x86 processors do it in 16, which overflow.
_INTEGER_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# Lines of it, on x86 and ARM, that decide what kernels a runtime takes.
_DECISIVE = ("vendor_id", "cpu family", "model", "flags", "CPU ", "Features")


def processor() -> str:
    """Its make and instruction sets."""
    try:
        first = _CPU_INFO.read_text("utf-8", "replace").partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = first.splitlines()
    return "\n".join(line for line in lines if line.startswith(_DECISIVE))


@cache
def multiplies_integers() -> bool:
    """Whether integer products are right and quick here; False where the system does not say."""
    try:
        return has_integer_products(_CPU_INFO.read_text("utf-8", "replace"))
    except OSError:
        return False


def has_integer_products(cpu_info: str) -> bool:
    """``cpu_info``: Linux's list of processors. All have the same flags: the first one counts."""
    for line in cpu_info.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return not _INTEGER_PRODUCTS.isdisjoint(flags.split())
    return False
