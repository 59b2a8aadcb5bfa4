"""What ``cupola top`` draws."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cupola.client.terminal.state_view import StateView

STATE: dict[str, Any] = {
    "queued": 2,
    "oldest_seconds": 1.25,
    "workers": [
        {
            "name": "cpu:0/0",
            "provider": "CPUExecutionProvider",
            "pid": 7,
            "running": 3,
            "slots": 16,
            "memory_bytes": 512 * 1024**2,
            "loading": ["big[red]:1"],
            "leaving": True,
            "models": [
                {"id": "small:1", "engine": "batching", "kv_usage": 0.125, "expires_in": 599.6}
            ],
        }
    ],
    "missing": ["cpu:0/1"],
    "stopped": ["cpu:0/2"],
    "refused": {"broken:1": "it cannot be loaded"},
    "totals": {"answered": 10, "completion_tokens": 100},
}


def drawn(*states: tuple[dict[str, Any], float]) -> list[str]:
    console = Console(width=120, record=True, file=io.StringIO())
    view = StateView("http://127.0.0.1:5273", console)
    for state, now in states:
        view.update(state, now)
    view.print()
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_workers_models_and_the_queue() -> None:
    lines = drawn((STATE, 1.0))
    assert "http://127.0.0.1:5273 3 of 16 slots 2 waiting, the oldest for 1.2 s" in lines
    assert "10 answered 0 refused 0 failed 0 aborted" in lines
    assert "cpu:0/0 (leaving) CPU 7 3 16 512 MB big[red]:1" in lines  # no name is markup
    assert "cpu:0/1 does not run" in lines
    assert "cpu:0/2 stopped" in lines
    assert "small:1 cpu:0/0 batching 12.5 % 600 s" in lines
    assert "broken:1 - it cannot be loaded" in lines


def test_rates_are_those_between_two_looks() -> None:
    later = STATE | {"totals": {"answered": 12, "completion_tokens": 150}}
    assert any(line.startswith("25.0 generated tokens/s") for line in drawn((STATE, 1), (later, 3)))
    assert any(line.startswith("0.0 generated tokens/s") for line in drawn((later, 1), (STATE, 3)))
