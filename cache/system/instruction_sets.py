"""Which of the instruction sets that matter to a model this machine's processor has."""

from __future__ import annotations

from cupola.cache.system.processor import processor

# By the name that people know, best first, and by one of Linux's flags.
_FLAGS = {
    "AMX": ("amx_int8",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AVX-512": ("avx512f",),
    "AVX2": ("avx2",),
    "dot products": ("asimddp",),  # ARM
}


def instruction_sets(text: str | None = None) -> tuple[str, ...]:
    """``text``: what ``processor`` says of a machine; None: this one. Empty: it does not say."""
    found: set[str] = set()
    for line in (processor() if text is None else text).splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found = set(flags.split())
            break
    return tuple(name for name, flags in _FLAGS.items() if found & set(flags))
