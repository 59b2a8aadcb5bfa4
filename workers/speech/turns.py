"""Which recording is heard next, and when windows are decoded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cupola.workers.speech.recording import SpeechRequest

_TOGETHER = 4  # windows that are decoded together cost half of what they cost one by one


def decodes(ready: int, *, hears: bool, going: bool) -> bool:
    """Whether the windows that are ``ready`` are decoded now, or wait for company.

    ``hears``: a further window is being heard. ``going``: windows are being decoded.
    """
    return ready > 0 and (going or not hears or ready >= _TOGETHER)


def next_request(
    requests: Iterable[SpeechRequest], running: Sequence[SpeechRequest]
) -> SpeechRequest | None:
    """The most urgent one with a window that waits.

    Among equals it is one of the client that has the fewest windows in ``running``, and among
    those the first. So many recordings of one client do not keep out another's.
    """
    clients = [each.turn.client for each in running]
    return min(
        (each for each in requests if each.waiting),
        key=lambda each: (each.turn.priority, clients.count(each.turn.client)),
        default=None,
    )
