"""Which window is heard next, in which slot, and when windows are decoded. Pure.

waiting ──next──> heard ──its decoder is there──> ready ──release──> gone
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cupola.workers.speech.recording import SpeechRequest, Window
from cupola.workers.speech.window_decoder import WindowDecoder

_TOGETHER = 4  # windows that are decoded together cost half of what they cost one by one


@dataclass(slots=True, eq=False)
class RunningWindow:
    """A window that has a slot."""

    request: SpeechRequest
    window: Window
    slot: int
    decoder: WindowDecoder | None = None  # None: it is being heard


class WindowScheduler:
    """The requests that have not ended, and their windows that have slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._requests: dict[str, SpeechRequest] = {}  # whose turn is next comes first
        self._running: list[RunningWindow] = []

    def __contains__(self, running: RunningWindow) -> bool:
        """Whether the window has a slot and its request has not ended."""
        return running in self._running and running.request.request_id in self._requests

    @property
    def waiting(self) -> bool:
        """Whether some window waits to be heard."""
        return any(request.waiting for request in self._requests.values())

    @property
    def ready(self) -> list[RunningWindow]:
        """The windows that can be decoded."""
        return [each for each in self._running if each.decoder is not None]

    def decodes(self, *, hears: bool, going: bool) -> bool:
        """Whether the windows that are ready are decoded now, or wait for company.

        ``hears``: a further window is being heard. ``going``: windows are being decoded.
        """
        ready = len(self.ready)
        return ready > 0 and (going or not hears or ready >= _TOGETHER)

    def add(self, request: SpeechRequest) -> None:
        self._requests[request.request_id] = request

    def next(self) -> RunningWindow | None:
        """Give a window that waits a slot; None: no window waits, or no slot is free."""
        used = {each.slot for each in self._running}
        slot = next((slot for slot in range(self._slots) if slot not in used), None)
        request = _next_request(self._requests.values(), [each.request for each in self._running])
        if slot is None or request is None:
            return None
        self._requests[request.request_id] = self._requests.pop(request.request_id)  # to the end
        running = RunningWindow(request, request.waiting.popleft(), slot)
        self._running.append(running)
        return running

    def release(self, running: RunningWindow) -> None:
        """Free the slot of a window."""
        self._running.remove(running)

    def end(self, request_id: str, heard: RunningWindow | None = None) -> None:
        """The request has ended: its slots are free now, but for the one of the window ``heard``.

        That one is being written. Unknown ids are ignored.
        """
        self._requests.pop(request_id, None)
        self._running = [
            each for each in self._running if each is heard or each.request.request_id != request_id
        ]


def _next_request(
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
