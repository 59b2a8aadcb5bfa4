"""``cupola simulate``: what a load would do to machines that one does not have."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.options import finite
from cupola.client.commands.measure import workload_options
from cupola.client.commands.measure.workload_options import Folder, MaxTokens, WorkloadName
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Column, Form, Output, print_json, print_table

if TYPE_CHECKING:
    from cupola.loadtests.simulate.arrivals import Arrival
    from cupola.loadtests.simulate.cost_model import CostModel
    from cupola.loadtests.simulate.simulation import Failure, Growth, Setup, Simulated

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
_COSTS, _CALIBRATION = "costs.json", "calibration.jsonl"
Load = Callable[[], Iterable["Arrival"]]


def simulate(
    rates: Annotated[str, typer.Option(help="Requests a second that arrive at random.")] = "",
    clients: Annotated[str, typer.Option(help="Numbers of clients at once, instead.")] = "",
    trace: Annotated[
        Path | None, typer.Option(help="CSV with at, prompt_tokens, output_tokens, instead.")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="How many requests are simulated.")] = 2000,
    workload: WorkloadName = "chat",
    max_tokens: MaxTokens = 64,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    slots: Annotated[int, typer.Option(min=1, help="Sequences that a worker runs at once.")] = 16,
    step_tokens: Annotated[int, typer.Option(min=1, help="The setting of this name.")] = 256,
    itl_ms: Annotated[
        float,
        typer.Option(
            min=0.001,
            callback=finite,
            help="The setting of this name.",
        ),
    ] = 100,
    queue_limit: Annotated[int, typer.Option(min=0, help="The setting of this name.")] = 256,
    queue_timeout: Annotated[
        float,
        typer.Option(
            min=0.001,
            callback=finite,
            help="In seconds.",
        ),
    ] = 300,
    fail: Annotated[
        list[str] | None, typer.Option(help="AT:WORKER:SECONDS: a worker is away for so long.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="AT:WORKERS: so many come at this second.")
    ] = None,
    for_ttft: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            help="Find the workers for a TTFT p99 of so many ms.",
        ),
    ] = 0,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First measure the running service, two minutes.")
    ] = False,
    url: Annotated[
        str, typer.Option(show_default="the running service", help="What --calibrate measures.")
    ] = "",
    costs: Annotated[
        Path | None,
        typer.Option(help="A costs.json, or the folder of a benchmark to learn the costs from."),
    ] = None,
    validate: Annotated[
        Path | None, typer.Option(help="Folder of a benchmark: simulate it, and compare.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other requests.")] = 0,
    out: Folder = None,
    output: Output = Form.TEXT,
) -> None:
    """Simulate load on workers: latency, throughput, queue, failures.

    The decisions are those of the real scheduler and engine. The time of each step comes from a
    model that --calibrate fits to this machine.

    Example: cupola simulate --rates 5,10,20 --workers 4
    """
    from cupola.loadtests.simulate.arrivals import Sizes, TraceError, poisson
    from cupola.loadtests.simulate.arrivals import trace as read_trace
    from cupola.loadtests.simulate.capacity import TooMuch, workers_needed
    from cupola.loadtests.simulate.cost_model import FitError
    from cupola.loadtests.simulate.simulation import Setup, Simulation
    from cupola.loadtests.simulate.worker import EngineSize

    sizes = Sizes(workload_options.workload(workload, max_tokens))
    if sum(map(bool, (rates or clients, trace, validate))) > 1:
        raise ClientError("Give one load: --rates and --clients, --trace, or --validate")
    if for_ttft and clients:
        raise ClientError("--for-ttft is for --rates or --trace: a closed loop waits for answers")
    events = _events(fail or [], add or [], workers)
    size = EngineSize(slots, step_tokens, itl_ms / 1000)
    try:
        model = _calibrated(url) if calibrate else _known(costs)
        setup = Setup(model, size, workers, queue_limit, queue_timeout, events, seed=seed)
        if validate is not None:
            _compare(validate, setup, output)
            return
        if trace is not None:
            arrived = read_trace(trace)
            loads: dict[str, tuple[Load, int]] = {trace.name: (lambda: arrived, 0)}
        else:
            loads = {}
            for level in _levels(rates, clients, calibrate):
                drawn = partial(poisson, sizes, level.rate or 1.0, requests, seed)
                loads[level.label] = (drawn, level.clients)
    except (FitError, TraceError) as error:
        raise ClientError(str(error)) from None
    rows: list[dict[str, Any]] = []
    found: dict[str, Simulated] = {}
    began = time.process_time()
    for label, (load, clients_) in loads.items():
        if for_ttft and not clients_:
            try:
                needed, figures = workers_needed(setup, load, for_ttft / 1000)
            except TooMuch as error:
                raise ClientError(str(error)) from None
        else:
            found[label] = Simulation(setup).run(load(), clients_)
            needed, figures = workers, found[label].figures()
        rows.append({"load": label, "workers": needed, **figures})
    _finish(rows, found, setup, time.process_time() - began, out, output)


def _levels(rates: str, clients: str, may_be_none: bool) -> list[Any]:
    from cupola.loadtests.bench import level

    if not rates and not clients and not may_be_none:
        raise ClientError("Say which load: --rates 5,10, --clients 16 or --trace FILE.csv")
    try:
        return (level.open_loop(rates) if rates else []) + (
            level.closed(clients) if clients else []
        )
    except ValueError as error:
        raise ClientError(f"--rates or --clients: {error}") from None


def _events(fail: list[str], add: list[str], workers: int) -> tuple[Failure | Growth, ...]:
    from cupola.loadtests.simulate.simulation import Failure, Growth

    try:
        failures = [
            Failure(float(at), int(worker), float(seconds))
            for at, worker, seconds in (text.split(":") for text in fail)
        ]
        growths = [Growth(float(at), int(more)) for at, more in (text.split(":") for text in add)]
    except ValueError:
        raise ClientError("Examples are --fail 60:0:10 and --add 60:4") from None
    times = [each.at for each in failures] + [each.at for each in growths]
    times += [each.seconds for each in failures]
    if not all(0 <= each < math.inf for each in times) or any(each.workers < 1 for each in growths):
        raise ClientError("--fail and --add: times are from 0, and at least one worker comes")
    for each in failures:
        if not 0 <= each.worker < workers:
            raise ClientError(f"--fail: there is no worker {each.worker}; the first one is 0")
    return (*failures, *growths)


def _known(given: Path | None) -> CostModel:
    """Raises FitError, ClientError."""
    from cupola.loadtests.simulate.calibration import read_lines
    from cupola.loadtests.simulate.cost_model import CostModel
    from cupola.loadtests.simulate.fit import fit

    if given is not None and given.suffix == ".json":
        return CostModel.load(given)
    if given is not None:
        return fit(read_lines(given))
    path = home.current().root / "measurements" / _COSTS
    if not path.exists():
        raise ClientError(
            "It is not known how fast this machine is",
            "Measure the running service once: cupola simulate --calibrate. Or give --costs",
        )
    return CostModel.load(path)


def _calibrated(url: str) -> CostModel:
    """Measures a service. Raises FitError, ClientError."""
    from cupola.client.commands.measure import bench_targets
    from cupola.client.terminal.turns import shown
    from cupola.loadtests.bench.target import Broken
    from cupola.loadtests.host import machine
    from cupola.loadtests.load.workloads import story
    from cupola.loadtests.simulate import calibration
    from cupola.loadtests.simulate.fit import fit

    try:
        target = bench_targets.first(url, "")
        target.check(story(2))
        for note in machine.hindrances(machine.busy_share()):
            print(note, file=sys.stderr)
        with shown(calibration.turns()) as show:
            lines = calibration.measure(target, show)
    except Broken as error:
        raise ClientError(str(error)) from None
    folder = home.current().root / "measurements"
    folder.mkdir(parents=True, exist_ok=True)
    calibration.write_lines(folder / _CALIBRATION, lines)
    model = fit(lines)
    model.save(folder / _COSTS)
    return model


def _compare(folder: Path, setup: Setup, output: Form) -> None:
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


def _finish(
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
        print(f"The costs of this machine: {home.current().root / 'measurements' / _COSTS}")
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
