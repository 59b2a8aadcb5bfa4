"""Many small cases in one test: an item of pytest each would cost more than what they check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(*named: object) -> Iterator[None]:
    """Says in a failure which of a test's cases failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {', '.join(map(str, named))}")
        raise
