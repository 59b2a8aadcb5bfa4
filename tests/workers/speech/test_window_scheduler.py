"""Who is heard next, in which slot, and when windows are decoded."""

from __future__ import annotations

import numpy as np

from cupola.scheduler.protocol.messages import Turn
from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.speech.log_mel import FRAMES_A_SECOND
from cupola.workers.speech.recording import Sound, SpeechRequest
from cupola.workers.speech.window_decoder import WindowDecoder
from cupola.workers.speech.window_scheduler import RunningWindow, WindowScheduler
from tests.workers.speech.few_tokens import TOKENS

SECONDS = 200


def request(name: str, client: str, priority: int = 0, parts: int = 1) -> SpeechRequest:
    """A recording of several windows that have to be heard; with ``parts`` side by side."""
    frames = SECONDS * FRAMES_A_SECOND
    sound = Sound(np.ones((1, frames), np.float32), SECONDS)
    return SpeechRequest(name, Transcribe(b""), sound, [], Turn(client, priority), parts)


def scheduler(*requests: SpeechRequest, slots: int = 9) -> WindowScheduler:
    made = WindowScheduler(slots)
    for each in requests:
        made.add(each)
    return made


def heard(windows: WindowScheduler) -> RunningWindow:
    running = windows.next()
    assert running is not None
    return running


def decoder() -> WindowDecoder:
    return WindowDecoder(TOKENS, [TOKENS.start], 9, str, (0.0,), np.random.default_rng(0))


def test_many_recordings_of_one_client_do_not_keep_out_anothers() -> None:
    windows = scheduler(request("a0", "a"), request("a1", "a"), request("b", "b"))
    assert [heard(windows).request.request_id for _ in range(3)] == ["a0", "b", "a1"]


def test_the_recordings_of_a_client_take_turns() -> None:
    windows = scheduler(request("a", "a", parts=3), request("b", "a", parts=3))
    assert [heard(windows).request.request_id for _ in range(4)] == ["a", "b", "a", "b"]


def test_the_urgent_come_first() -> None:
    windows = scheduler(request("b", "b"), request("c", "a", -1, parts=3))
    assert [heard(windows).request.request_id for _ in range(3)] == ["c", "c", "c"]


def test_nobody_is_heard_where_no_window_waits() -> None:
    windows = scheduler(request("a", "a"))
    assert windows.waiting
    heard(windows)
    assert not windows.waiting
    assert windows.next() is None


def test_a_window_takes_the_first_free_slot_or_waits() -> None:
    windows = scheduler(*(request(name, name) for name in "abcd"), slots=2)
    first, second = heard(windows), heard(windows)
    assert (first.slot, second.slot) == (0, 1)
    assert windows.next() is None and windows.waiting
    windows.release(first)
    assert heard(windows).slot == 0


def test_windows_wait_for_company_while_another_is_heard_only() -> None:
    windows = scheduler(*(request(name, name) for name in "abcd"))
    assert not windows.decodes(hears=False, going=True)
    for running in (heard(windows) for _ in range(3)):
        running.decoder = decoder()
    assert windows.decodes(hears=False, going=False)
    assert windows.decodes(hears=True, going=True)
    assert not windows.decodes(hears=True, going=False)
    heard(windows).decoder = decoder()
    assert windows.decodes(hears=True, going=False)


def test_the_slots_of_a_request_that_ends_are_free_but_for_the_one_that_is_written() -> None:
    windows = scheduler(request("a", "a", parts=3), slots=3)
    ready, lost, written = (heard(windows) for _ in range(3))
    ready.decoder = decoder()
    windows.end("a", written)
    assert not any(each in windows for each in (ready, lost, written))
    assert windows.ready == [] and not windows.waiting
    windows.add(request("b", "b", parts=3))
    assert [heard(windows).slot for _ in range(2)] == [0, 1]
    assert windows.next() is None
    windows.release(written)
    assert heard(windows).slot == written.slot


def test_an_unknown_request_may_end() -> None:
    windows = scheduler(request("a", "a"))
    windows.end("b")
    assert heard(windows) in windows
