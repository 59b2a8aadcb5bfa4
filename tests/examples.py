"""How many examples hypothesis tries where its default of 100 is too many or too few."""

from __future__ import annotations

from hypothesis import settings

_DEFAULT = 100  # examples of the profile "full", for which the tests' counts are meant


def examples(count: int) -> int:
    """``count`` in a full run, and as much less under ``make test-fast`` as its profile says."""
    return max(1, count * settings().max_examples // _DEFAULT)
