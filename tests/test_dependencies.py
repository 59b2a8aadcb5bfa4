"""What the installed program depends on may be used and passed on under Cupola's own licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What a licence's own words or classifier must have in them.
ALLOWED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|0BSD|HPND)\b",
    re.IGNORECASE,
)
# Libraries of their own that are loaded, not copied: the LGPL asks no more of who uses them.
LOADED = {"soxr"}
REFUSED = re.compile(r"\b(A?GPL|GNU (Affero )?General|SSPL|BUSL|Commons Clause|Proprietary)\b")


def closure(name: str) -> set[str]:
    """All that an installation of ``name`` without extras brings, and is installed here."""
    found, waiting = set[str](), [name]
    while waiting:
        current = canonicalize_name(waiting.pop())
        if current in found:
            continue
        try:
            requires = distribution(current).requires or []
        except PackageNotFoundError:
            continue  # for another system
        found.add(current)
        for text in requires:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def licences(name: str) -> Iterator[str]:
    """What a distribution says of its licence: the classifiers, else the expression."""
    about = distribution(name).metadata
    yield from (text for text in about.get_all("Classifier", []) if text.startswith("License"))
    for field in ("License-Expression", "License"):
        yield from (text[:200] for text in about.get_all(field, []))


def test_every_dependency_may_be_used() -> None:
    names = closure("cupola") - {"cupola"} - LOADED
    assert len(names) > 20
    wrong = {}
    for name in sorted(names):
        text = "; ".join(filter(None, licences(name)))
        if not ALLOWED.search(text) or (REFUSED.search(text) and " OR " not in text):
            wrong[name] = text or "says nothing"
    assert wrong == {}
