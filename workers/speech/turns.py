"""Which recording is heard next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cupola.workers.speech.recording import SpeechRequest


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
