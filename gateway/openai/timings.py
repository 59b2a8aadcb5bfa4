"""llama-server's ``timings`` and ``prompt_progress``, which its clients read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cupola.gateway.core.events import Event, Measured, UsageTotal
from cupola.scheduler.protocol.outputs import PromptProgress, Timings


class ServerTimings(msgspec.Struct, frozen=True):
    """Numbers of tokens, and how long they took. ``prompt_n`` does not count cached ones."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | msgspec.UnsetType = msgspec.UNSET
    draft_n_accepted: int | msgspec.UnsetType = msgspec.UNSET


class ServerProgress(msgspec.Struct, frozen=True):
    """``processed`` of ``total`` tokens have been read, ``cache`` of them before."""

    total: int
    cache: int
    processed: int
    time_ms: int


def timings_of(timings: Timings) -> ServerTimings:
    usage = timings.usage
    read = usage.prompt_tokens - usage.cached_tokens
    made = usage.completion_tokens
    prompt, generation = timings.prompt_seconds, timings.generation_seconds
    accepted = usage.accepted_prediction_tokens
    drafted = accepted + usage.rejected_prediction_tokens
    return ServerTimings(
        cache_n=usage.cached_tokens,
        prompt_n=read,
        prompt_ms=_ms(prompt),
        prompt_per_token_ms=_ms(_ratio(prompt, read)),
        prompt_per_second=round(_ratio(read, prompt), 3),
        predicted_n=made,
        predicted_ms=_ms(generation),
        predicted_per_token_ms=_ms(_ratio(generation, made)),
        predicted_per_second=round(_ratio(made, generation), 3),
        draft_n=drafted or msgspec.UNSET,
        draft_n_accepted=accepted if drafted else msgspec.UNSET,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else 0.0


def with_timings(frames: list[bytes], events: Sequence[Event], *, each: bool) -> list[bytes]:
    """The frames of some events; the last frame of a stream has the timings.

    ``each``: so have all others. The first frames belong to one event each.
    """
    shown: dict[int, Timings] = {}
    if each:
        current: Timings | None = None
        for at in range(len(frames)):
            event = events[at] if at < len(events) else None
            current = event.timings if isinstance(event, Measured) else current
            if current is not None:
                shown[at] = current
    last = events[-1] if events else None
    if isinstance(last, UsageTotal) and last.timings is not None:
        shown[max((at for at, frame in enumerate(frames) if frame), default=0)] = last.timings
    for at, timings in shown.items():
        frames[at] = _with_field(frames[at], "timings", timings_of(timings))
    return frames


def with_progress(frame: bytes, progress: PromptProgress) -> bytes:
    shown = ServerProgress(
        progress.total, progress.cached, progress.read, round(progress.seconds * 1000)
    )
    return _with_field(frame, "prompt_progress", shown)


_END = b"}\n\n"


def _with_field(frame: bytes, name: str, value: Any) -> bytes:
    """An event with one more field at its end. An empty frame stays empty."""
    if not frame:
        return frame
    field = b',"' + name.encode() + b'":' + msgspec.json.encode(value)
    return frame.removesuffix(_END) + field + _END
