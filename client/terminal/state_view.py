"""The state of a service as tables that are drawn anew, with rates between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_RATES = {
    "completion_tokens": "generated tokens/s",
    "prompt_tokens": "prompt tokens/s",
    "cached_tokens": "cached tokens/s",
    "answered": "answers/s",
}
_OUTCOMES = ("answered", "refused", "failed", "aborted")


class StateView:
    """``update`` is given what ``/admin/state`` tells, and the time of a clock in seconds."""

    def __init__(self, url: str, console: Console | None = None) -> None:
        self._url = url
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._shown: Group = Group()
        self._before: tuple[Mapping[str, Any], float] | None = None

    def update(self, state: Mapping[str, Any], now: float) -> None:
        rates = self._rates(state["totals"], now)
        self._before = (state["totals"], now)
        self._shown = Group(
            self._head(state, rates), Text(), _workers(state), Text(), _models(state)
        )
        if self._live.is_started:
            self._live.update(self._shown, refresh=True)

    def live(self) -> AbstractContextManager[object]:
        """Shows what ``update`` is given while the block runs."""
        return self._live

    def print(self) -> None:
        self._console.print(self._shown)

    def _rates(self, totals: Mapping[str, int], now: float) -> dict[str, float]:
        if self._before is None or now <= self._before[1]:
            return dict.fromkeys(_RATES, 0.0)
        before, then = self._before
        return {
            # A scheduler that was started again counts from zero.
            name: max(0, totals.get(name, 0) - before.get(name, 0)) / (now - then)
            for name in _RATES
        }

    def _head(self, state: Mapping[str, Any], rates: Mapping[str, float]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 3, 0, 0), pad_edge=False)
        running = sum(worker["running"] for worker in state["workers"])
        slots = sum(worker["slots"] for worker in state["workers"])
        waiting = f"{state['queued']} waiting"
        if state["queued"]:
            waiting += f", the oldest for {state['oldest_seconds']:.1f} s"
        table.add_row(Text(self._url, style="bold"), f"{running} of {slots} slots", waiting)
        table.add_row(*(f"{rates[name]:,.1f} {text}" for name, text in _RATES.items()))
        table.add_row(*(f"{state['totals'].get(name, 0):,} {name}" for name in _OUTCOMES))
        return table


def _workers(state: Mapping[str, Any]) -> Table:
    table = _table("Worker", "Provider", "PID", "Running", "Slots", "Memory", "Loading")
    for worker in state["workers"]:
        provider = worker["provider"].removesuffix("ExecutionProvider")
        memory = f"{worker['memory_bytes'] / 1024**2:,.0f} MB"
        loading = ", ".join(worker["loading"]) or "-"
        name = f"{worker['name']} (leaving)" if worker["leaving"] else worker["name"]
        numbers = (str(worker[key]) for key in ("pid", "running", "slots"))
        table.add_row(name, provider, *numbers, memory, Text(loading))
    for name in state["missing"]:
        table.add_row(Text(name, style="red"), "does not run", *[""] * 5)
    for name in state["stopped"]:
        table.add_row(name, "stopped", *[""] * 5)
    return table


def _models(state: Mapping[str, Any]) -> Table:
    table = _table("Model", "Worker", "Engine", "Keys and values", "Unloaded in")
    for worker in state["workers"]:
        for model in worker["models"]:
            left = model["expires_in"]
            table.add_row(
                Text(model["id"]),
                worker["name"],
                model["engine"],
                f"{100 * model['kv_usage']:.1f} %",
                "-" if left is None else f"{left:.0f} s",
            )
    for model_id, why in state["refused"].items():
        table.add_row(Text(model_id, style="red"), "-", Text(why), "", "")
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title)
    return table
