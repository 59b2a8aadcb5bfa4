"""What each API calls the parts of a request, so that an error names what its client has written.

Below the APIs a part has one name: that of the field of ``GenerationRequest``, of the scheduler's
task or of its sampling. An API has a table from these names to its own. A part that is not in the
table has the same name in the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cupola.gateway.http.errors import TABLE, ApiError, RequestFailed

ParamNames = Mapping[str, str]


@contextmanager
def with_param_names(names: ParamNames) -> Iterator[None]:
    """Errors of the block name the parts of the request by these names."""
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
