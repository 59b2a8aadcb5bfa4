"""What each API calls the parts of a task, so that an error names what its client has written.

Below the doors a part has one name: that of the field of ``GenerationRequest``, of the scheduler's
Task or of its sampling. A door has a table from these to its own names; what is not in the table
has the same name there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cupola.gateway.http.errors import TABLE, ApiError, RequestFailed

Names = Mapping[str, str]


@contextmanager
def in_words_of(names: Names) -> Iterator[None]:
    """What fails within is told with these names."""
    try:
        yield
    except RequestFailed as failed:
        part = failed.param or TABLE[failed.code].param or ""
        failed.param = names.get(part, part)
        raise
    except ApiError as error:
        if error.param is not None:
            error.param = names.get(error.param, error.param)
        raise
