"""``cupola simulate``: what a load would do to machines that one does not have."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from random import randrange
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.options import finite
from cupola.client.commands.measure import simulate_output, workload_options
from cupola.client.commands.measure.workload_options import Folder, WorkloadName
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output

if TYPE_CHECKING:
    from cupola.loadtests.simulate.arrivals import Arrival
    from cupola.loadtests.simulate.cost_model import CostModel
    from cupola.loadtests.simulate.outcome import Simulated
    from cupola.loadtests.simulate.simulation import Failure, Growth

_CALIBRATION = "calibration.jsonl"
MOST_WORKERS, MOST_REQUESTS = 10_000, 100_000_000
_SEEDS = 1_000_000  # texts of calibrations differ, so that the prefix cache knows none of them
_TOKENS = 64  # of an answer to 'story'
Load = Callable[[], Iterable["Arrival"]]


def simulate(
    rates: Annotated[str, typer.Option(help="Requests a second that arrive at random.")] = "",
    clients: Annotated[str, typer.Option(help="Numbers of clients at once, instead.")] = "",
    trace: Annotated[
        Path | None, typer.Option(help="CSV with at, prompt_tokens, output_tokens, instead.")
    ] = None,
    requests: Annotated[
        int, typer.Option(min=1, max=MOST_REQUESTS, help="How many requests are simulated.")
    ] = 2000,
    workload: WorkloadName = "chat",
    max_tokens: Annotated[int | None, workload_options.tokens_option(_TOKENS)] = None,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Worker processes.")] = 1,
    slots: Annotated[
        int, typer.Option(min=1, max=1024, help="Sequences that a worker runs at once.")
    ] = 16,
    step_tokens: Annotated[
        int, typer.Option(min=1, max=65536, help="The setting of this name.")
    ] = 256,
    itl_ms: Annotated[
        float,
        typer.Option(min=0.001, max=60_000, callback=finite, help="The setting of this name."),
    ] = 100,
    queue_limit: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="The setting of this name.")
    ] = 256,
    queue_timeout: Annotated[
        float,
        typer.Option(min=0.001, max=86_400, callback=finite, help="In seconds."),
    ] = 300,
    fail: Annotated[
        list[str] | None, typer.Option(help="AT:WORKER:SECONDS: a worker is away for so long.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="AT:WORKERS: so many come at this second.")
    ] = None,
    for_ttft: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="Find the workers for a TTFT p99 of so many ms."),
    ] = 0,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First measure the running service, two minutes.")
    ] = False,
    url: Annotated[
        str, typer.Option(show_default="the running service", help="What --calibrate measures.")
    ] = "",
    costs: Annotated[
        Path | None,
        typer.Option(help="A costs.json, or the folder of benchmarks to learn the costs from."),
    ] = None,
    validate: Annotated[
        Path | None, typer.Option(help="Folder of benchmarks: simulate them, and compare.")
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

    sizes = Sizes(workload_options.workload(workload, max_tokens, _TOKENS))
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
            simulate_output.compare(validate, setup, output)
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
    simulate_output.finish(rows, found, setup, time.process_time() - began, out, output)


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
    if workers + sum(each.workers for each in growths) > MOST_WORKERS:
        raise ClientError(f"--add: there are {MOST_WORKERS:,} workers at most")
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
    path = home.current().root / "measurements" / simulate_output.COSTS
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
            lines = calibration.measure(target, show, seed=randrange(_SEEDS))
    except Broken as error:
        raise ClientError(str(error)) from None
    folder = home.current().root / "measurements"
    folder.mkdir(parents=True, exist_ok=True)
    calibration.write_lines(folder / _CALIBRATION, lines)
    model = fit(lines)
    model.save(folder / simulate_output.COSTS)
    return model
