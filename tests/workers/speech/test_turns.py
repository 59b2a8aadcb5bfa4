"""Who is heard next."""

from __future__ import annotations

import numpy as np

from cupola.scheduler.protocol.messages import Turn
from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.speech.recording import Sound, SpeechRequest
from cupola.workers.speech.turns import decodes, next_request

SOUND = Sound(np.zeros((80, 100), np.float32), 1.0)


def request(name: str, client: str, priority: int = 0) -> SpeechRequest:
    return SpeechRequest(name, Transcribe(b""), SOUND, [], Turn(client, priority))


def test_many_recordings_of_one_client_do_not_keep_out_anothers() -> None:
    many = [request(f"a{number}", "a") for number in range(3)]
    other = request("b", "b")
    requests = [*many, other]
    assert next_request(requests, []) is many[0]
    assert next_request(requests, [many[0]]) is other
    assert next_request(requests, [many[0], other]) is many[0]


def test_the_urgent_come_first() -> None:
    urgent = request("c", "a", -1)
    assert next_request([request("b", "b"), urgent], [urgent, urgent]) is urgent


def test_nobody_is_heard_where_no_window_waits() -> None:
    heard = request("a", "a")
    heard.waiting.clear()
    assert next_request([heard], []) is None


def test_windows_wait_for_company_while_another_is_heard_only() -> None:
    assert not decodes(0, hears=False, going=True)
    assert decodes(1, hears=False, going=False)
    assert not decodes(3, hears=True, going=False)
    assert decodes(4, hears=True, going=False)
    assert decodes(1, hears=True, going=True)
