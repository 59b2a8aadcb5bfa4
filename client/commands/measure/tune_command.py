"""``cupola tune``: finds the settings for this machine, model and load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.options import finite
from cupola.client.commands.measure import workload_options
from cupola.client.commands.measure.workload_options import (
    Folder,
    ObjectiveText,
    WorkloadName,
)
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output, print_json

if TYPE_CHECKING:
    from cupola.loadtests.tune.search import Found, Task

_TOKENS = 48  # of an answer to 'story'


def tune(
    model: Annotated[str, typer.Option(show_default="the setting", help="The model.")] = "",
    goal: Annotated[
        str,
        typer.Option("--for", help="What is best: 'throughput', 'latency' or 'goodput'."),
    ] = "throughput",
    clients: Annotated[int, typer.Option(min=1, max=1024, help="Clients at once.")] = 8,
    workload: WorkloadName = workload_options.STORY,
    max_tokens: Annotated[int | None, workload_options.tokens_option(_TOKENS)] = None,
    objective: ObjectiveText = "ttft=1000,itl=200",
    minutes: Annotated[
        float,
        typer.Option(
            min=0.2,
            callback=finite,
            help="The time that it may take.",
        ),
    ] = 5,
    variants: Annotated[
        bool,
        typer.Option("--variants", help="Also try the model's other variants on this disk."),
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Measure every candidate, however long it takes.")
    ] = False,
    out: Folder = None,
    output: Output = Form.TEXT,
) -> None:
    """Find the number of workers, threads and slots, and the step, for this machine.

    Services with other settings are started on free ports and measured, the most promising first.
    Nothing is changed: the settings that are found are printed as a fragment of cupola.toml.

    Example: cupola tune --for goodput --clients 16 --minutes 10
    """
    from cupola.cache.store import ModelCache
    from cupola.loadtests.bench.target import Broken
    from cupola.loadtests.host import machine
    from cupola.loadtests.tune.candidate import AUTO, Candidate
    from cupola.loadtests.tune.candidate import grid as all_candidates
    from cupola.loadtests.tune.roofline import bound, probe
    from cupola.loadtests.tune.search import GOALS, Search, Task
    from cupola.service.settings.sources import load

    if goal not in GOALS:
        raise ClientError(f"--for is {', '.join(GOALS)}, not '{goal}'")
    asked = workload_options.workload(workload, max_tokens, _TOKENS)
    seconds = float("inf") if grid else minutes * 60
    task = Task(asked, clients, goal, workload_options.objective(objective), seconds)
    folder, settings = home.current(), load().settings
    cached = ModelCache(folder)
    chosen = cached.find(model or settings.model)
    if chosen.variant.task != "chat-completion":
        raise ClientError(f"{chosen.variant.id} does not chat, and only chat models are tuned")
    models = [chosen.variant.id]
    if variants:
        alias = chosen.variant.alias
        models = sorted({m.variant.id for m in cached.scan() if m.variant.alias == alias})
    cores = machine.cores()
    default = Candidate(1, cores, AUTO, 256, chosen.variant.id)
    for note in (notes := [*machine.hindrances(machine.busy_share()), *_in_use()]):
        print(note, file=sys.stderr)
    weights = sum(path.stat().st_size for path in chosen.path.iterdir() if path.is_file())
    measured = probe(cores)
    candidates = sorted(
        all_candidates(cores, clients, models),
        key=lambda each: (
            -round(bound(each, measured, weights, clients), -1),
            each.distance(default),
        ),
    )
    results = workload_options.results(folder, out, "tune")
    with _shown() as show:
        search = Search(task, folder.root, show)
        try:
            found = (search.run_all if grid else search.run)(candidates, default)
        except Broken as error:
            raise ClientError(str(error)) from None
        except KeyboardInterrupt:
            _finish(search.found, task, notes, results, output)
            raise
    _finish(found, task, notes, results, output)


def _in_use() -> list[str]:
    from cupola.client.errors import NoAnswerError
    from cupola.client.running_service import find

    try:
        running = find(home.current())
    except NoAnswerError:
        return []
    if running is None:
        return []
    return [
        f"The service at {running.url} runs. While it answers, figures are too low. "
        "To stop it: cupola service stop"
    ]


@contextmanager
def _shown() -> Iterator[Callable[[str, float], None]]:
    """A bar of the time on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text, _: print(text, file=sys.stderr, flush=True)
        return
    from cupola.client.terminal.turns import share_shown

    with share_shown() as show:
        yield show


def _finish(found: Found, task: Task, notes: list[str], folder: Path, output: Form) -> None:
    from cupola.loadtests.report.markdown import number, table
    from cupola.loadtests.tune.explanation import explain, picture

    lines = explain(found, task)
    toml = found.chosen.toml()
    (folder / "cupola.toml").write_text(found.chosen.toml([*lines, *notes]), encoding="utf-8")
    (folder / "frontier.svg").write_text(picture(found), encoding="utf-8")
    shown = ("tokens_s", "ttft_p99_ms", "itl_p99_ms", "e2e_p50_ms", "goodput_s")
    rows = [
        [t.candidate.text, t.candidate.model, str(t.rung), *(number(t.figures[k]) for k in shown)]
        for t in found.trials
    ]
    text = table(["settings", "model", "rung", *shown], rows)
    (folder / "trials.md").write_text(text + "\n", encoding="utf-8")
    if output is Form.JSON:
        print_json(
            {
                "settings": found.chosen.settings,
                "explanation": lines,
                "notes": notes,
                "failed": found.failed,
                "folder": str(folder),
                "trials": [
                    {**t.candidate.settings, "rung": t.rung, "score": t.score, **t.figures}
                    for t in found.trials
                ],
            }
        )
        return
    print(*lines, "", toml, f"Trials, plot and this fragment: {folder}", sep="\n")
