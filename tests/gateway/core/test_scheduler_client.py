"""The gateway's end of the scheduler's socket, on a running gateway."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cupola.gateway.core import scheduler_client
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import Output
from tests.gateway.running_gateway import HELLO, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, last

pytestmark = pytest.mark.slow

WORDS = [f"{number} " for number in range(500)]


def counting(request: Any) -> Iterable[Any]:
    """An answer of many frames."""
    if isinstance(request, Submit):
        for word in WORDS:
            yield Outputs((Output(request.request_id, word),))
        yield last(request.request_id)


def test_frames_stay_in_order_whoever_reads_them(
    scheduler: ScriptedScheduler, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two tasks of the client read from the socket. With this the second one always does.
    monkeypatch.setattr(scheduler_client, "HEARTBEAT", 0)
    scheduler.script = counting
    with RunningGateway(scheduler.endpoint, home) as gateway, gateway.openai() as client:
        for _ in range(10):
            stream = client.chat.completions.create(**HELLO, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert text == "".join(WORDS)
