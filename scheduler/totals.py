"""Counts the requests that have ended, and their tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import Outputs, Rejected, ToGateway, Totals, ToWorker, Usage

_SUMS = tuple(set(Totals.__struct_fields__) & set(Usage.__struct_fields__))


def updated(totals: Totals, messages: Iterable[ToGateway | ToWorker]) -> Totals:
    """``totals`` plus the requests that end with one of ``messages``."""
    for message in messages:
        if isinstance(message, Rejected):
            totals = replace(totals, failed=totals.failed + 1)
        elif isinstance(message, Outputs):
            for output in message.outputs:
                if output.usage is not None:
                    totals = _plus(totals, output.usage)
    return totals


def _plus(totals: Totals, usage: Usage) -> Totals:
    sums = {name: getattr(totals, name) + getattr(usage, name) for name in _SUMS}
    return replace(totals, answered=totals.answered + 1, **sums)
