"""What ``cupola simulate`` prints and draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cupola.client import home
from cupola.client.commands.measure import workload_options
from cupola.client.terminal.output import Column, Form, print_json, print_table

if TYPE_CHECKING:
    from cupola.loadtests.simulate.cost_model import CostModel
    from cupola.loadtests.simulate.outcome import Simulated
    from cupola.loadtests.simulate.simulation import Setup

COSTS = "costs.json"
_SHOWN = {
    "requests_s": "requests/s",
    "tokens_s": "tokens/s",
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "TTFT p99",
    "tpot_p50_ms": "TPOT p50",
    "e2e_p99_ms": "E2E p99",
    "waiting": "waiting",
    "refused": "refused",
    "lost": "lost",
}
_TELLING = 10_000  # requests, below which the simulation's own speed says nothing


def compare(folder: Path, setup: Setup, output: Form) -> None:
    from cupola.loadtests.report.markdown import number
    from cupola.loadtests.simulate import validation
    from cupola.loadtests.simulate.calibration import read_lines

    found = validation.validate(read_lines(folder), setup)
    if output is Form.JSON:
        print_json(
            [
                {
                    "level": each.level.label,
                    "requests": each.requests,
                    "measured": each.measured,
                    "simulated": each.simulated,
                    "ttft_p99_ms_interval": each.tail_ms,
                }
                for each in found
            ]
        )
        return
    rows = []
    for each in found:
        cells = [
            f"{number(each.measured[key])} / {number(each.simulated[key])} ({each.error(key):+.0%})"
            for key in validation.FIGURES
        ]
        interval = " to ".join(map(number, each.tail_ms))
        rows.append([each.level.label, f"{each.requests:,}", *cells, interval])
    shown = [_SHOWN[key] for key in validation.FIGURES]
    titles = ["measured / simulated", "requests", *shown, "measured TTFT p99, 95%"]
    print_table([Column(title) for title in titles], rows)


def finish(
    rows: list[dict[str, Any]],
    found: dict[str, Simulated],
    setup: Setup,
    seconds: float,
    out: Path | None,
    output: Form,
) -> None:
    """``seconds``: of a core, for what is in ``found``."""
    if not rows and output is Form.TEXT:
        print(_trust(setup.costs))
        print(f"The costs of this machine: {home.current().root / 'measurements' / COSTS}")
        return
    from cupola.loadtests.report import html, svg
    from cupola.loadtests.report.markdown import number

    titles = ["load", "workers", *_SHOWN.values()]
    cells = [
        [row["load"], str(row["workers"]), *(number(row[key]) for key in _SHOWN)] for row in rows
    ]
    folder = workload_options.results(home.current(), out, "simulate")
    lines = [svg.Line(label, [(at, float(n)) for at, n in f.queue]) for label, f in found.items()]
    plots = [svg.plot("Requests that wait for a worker", "s", "requests", lines)]
    plots += [
        svg.plot(
            title,
            "requests/s that were answered",
            "ms",
            [svg.Line(title, [(row["requests_s"], row[key]) for row in rows], marks=True)],
        )
        for key, title in (("ttft_p99_ms", "TTFT p99"), ("tpot_p50_ms", "TPOT p50"))
    ]
    costs = {key: value for key, value in setup.costs.as_json().items() if key != "spread"}
    note = f"Costs of a step, in seconds: {costs}. Times in ms."
    parts = [html.table(titles, cells), html.plots(plots), html.paragraph(note)]
    page = folder / "simulation.html"
    page.write_text(html.page("Simulated capacity", parts), encoding="utf-8")
    if output is Form.JSON:
        print_json({"costs": costs, "rows": rows, "seconds": seconds, "report": str(page)})
        return
    print_table([Column(title) for title in titles], cells)
    print(f"Times in ms. {_trust(setup.costs)}")
    simulated = sum(f.answered + f.refused + f.lost for f in found.values())
    if simulated >= _TELLING:
        print(f"{simulated:,} requests were simulated, {simulated / seconds:,.0f} in a second.")
    print(f"Plots: {page}")


def _trust(costs: CostModel) -> str:
    """How far what was measured lies from the model."""
    from cupola.loadtests.load.results import percentile

    said = f"Half of the measured steps lie within {costs.error:.0%} of the model"
    if not costs.spread.steps:
        return f"{said}. It knows no bad moments, so p99 comes out too low: --calibrate anew."
    slow = percentile(costs.spread.steps, 99)
    return f"{said}; one of a hundred takes {slow:.2g} times as long or more."
