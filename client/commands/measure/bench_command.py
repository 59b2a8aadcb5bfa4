"""``cupola bench``: throughput and latency of services that take turns."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.options import finite
from cupola.client.commands.measure import bench_targets, workload_options
from cupola.client.commands.measure.workload_options import (
    Folder,
    ObjectiveText,
    WorkloadName,
)
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Column, Form, Output, print_json, print_table

if TYPE_CHECKING:
    from cupola.loadtests.bench.level import Level
    from cupola.loadtests.bench.rounds import Outcome, Rounds
    from cupola.loadtests.bench.target import Target
    from cupola.loadtests.load.workloads import Workload

_COLUMNS = ("target", "level", "tokens/s", "TTFT p50", "ITL p50", "ITL p99", "goodput/s", "errors")
_TOKENS = 64  # of an answer to 'story'


def bench(
    url: Annotated[
        str, typer.Option(show_default="the running service", help="The server to measure.")
    ] = "",
    model: Annotated[
        str, typer.Option(show_default="the first that it lists", help="The model to ask.")
    ] = "",
    against: Annotated[
        list[str] | None,
        typer.Option(help="URL or URL=NAME of a server that takes turns with it; repeatable."),
    ] = None,
    peers: Annotated[
        str, typer.Option(help="Other servers to start and to measure, for development.")
    ] = "",
    engine: Annotated[
        bool, typer.Option("--engine", help="Also the engine alone, in this process.")
    ] = False,
    clients: Annotated[str, typer.Option(help="Numbers of clients at once.")] = "1,4,16",
    rates: Annotated[
        str, typer.Option(help="Requests a second that arrive at random, instead of clients.")
    ] = "",
    requests: Annotated[
        int, typer.Option(min=1, help="Of each client in a round; with --rates, of all, at least.")
    ] = 2,
    seconds: Annotated[
        float,
        typer.Option(
            min=1,
            callback=finite,
            help="Of a round, with --rates, at least.",
        ),
    ] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 3,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds before, that do not count.")] = 1,
    workload: WorkloadName = workload_options.STORY,
    max_tokens: Annotated[int | None, workload_options.tokens_option(_TOKENS)] = None,
    shared_prefix: Annotated[
        str, typer.Option(help="One long system prompt: 'new' in every round, or 'known'.")
    ] = "",
    prompt_words: Annotated[int, typer.Option(min=0, help="Long prompts that all differ.")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="A text to be written once more.")] = False,
    agent: Annotated[
        bool, typer.Option("--agent", help="Coding agents of 20 recorded turns each.")
    ] = False,
    objective: ObjectiveText = "ttft=1000,itl=200",
    seed: Annotated[int, typer.Option(min=0, help="Another one asks other things.")] = 0,
    compare: Annotated[Path | None, typer.Option(help="bench.json of an earlier run.")] = None,
    out: Folder = None,
    output: Output = Form.TEXT,
) -> None:
    """Measure services of this machine: tokens a second, and latency.

    Each round asks all of them the same, in turn. bench.json, bench.md, a plot and a line a request
    in requests.jsonl are kept, also of a run that breaks.

    Example: cupola bench --clients 1,16 --against http://127.0.0.1:8080=llama
    """
    from cupola.loadtests.bench import document
    from cupola.loadtests.bench.rounds import Plan, Rounds
    from cupola.loadtests.bench.target import Amount, Broken
    from cupola.loadtests.host import machine

    if shared_prefix not in ("", "new", "known"):
        raise ClientError(f"--shared-prefix is 'new' or 'known', not '{shared_prefix}'")
    asked = workload_options.workload(
        workload, max_tokens, _TOKENS, shared_prefix, prompt_words, copy, agent
    )
    plan = Plan(
        asked,
        tuple(_levels(clients, rates)),
        Amount(requests, seconds),
        workload_options.objective(objective),
        rounds,
        warm_up,
        seed,
    )
    old = _earlier(compare)
    with ExitStack() as stack:
        try:
            targets = bench_targets.targets(url, model, against or [], engine, peers, stack)
            _check(targets, asked)
        except Broken as error:
            raise ClientError(str(error)) from None
        folder = workload_options.results(home.current(), out, "bench")
        notes = machine.hindrances(machine.busy_share())
        for note in notes:
            print(note, file=sys.stderr)
        file = document.RequestsFile(folder / "requests.jsonl")
        stack.callback(file.close)
        outcome, ended = _measure(Rounds(plan, targets, file.keep), plan.turns(len(targets)))
    found = document.document(
        plan,
        outcome,
        [{"name": each.name, "where": each.where, "model": each.model} for each in targets],
        machine.describe(),
        notes + ([] if ended else ["The run was interrupted: the rounds before are kept."]),
        f"cupola {' '.join(sys.argv[1:])}",
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _finish(found, old, folder, output)
    if not ended:
        raise KeyboardInterrupt
    if len(outcome.broken) == len(targets):
        raise typer.Exit(1)


def _levels(clients: str, rates: str) -> list[Level]:
    from cupola.loadtests.bench import level

    try:
        return level.open_loop(rates) if rates else level.closed(clients)
    except ValueError as error:
        option, example = ("--rates", "0.5,2") if rates else ("--clients", "1,4,16")
        raise ClientError(f"{option}: {error}", f"An example is {option} {example}") from None


def _earlier(path: Path | None) -> dict[str, Any] | None:
    """The run to compare with. It is read first: a mistake must not cost a run."""
    from cupola.loadtests.bench import document

    if path is None:
        return None
    try:
        return document.read(path)
    except document.UnreadableError as error:
        raise ClientError(str(error)) from None


def _check(targets: list[Target], workload: Workload) -> None:
    for target in targets:
        target.check(workload)
        print(f"{target.name}: {target.model}, {target.where}", file=sys.stderr, flush=True)


def _measure(rounds: Rounds, turns: int) -> tuple[Outcome, bool]:
    """What there is, and whether the run went to its end."""
    from cupola.client.terminal.turns import shown

    with shown(turns) as show:
        try:
            return rounds.run(show), True
        except KeyboardInterrupt:
            return rounds.outcome, False


def _finish(found: dict[str, Any], old: dict[str, Any] | None, folder: Path, output: Form) -> None:
    import json

    from cupola.loadtests.bench import document, page

    comparison = document.compared(found, old) if old else []
    (folder / "bench.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (folder / "bench.md").write_text(page.markdown(found, comparison), encoding="utf-8")
    (folder / "bench.svg").write_text(page.picture(found), encoding="utf-8")
    if output is Form.JSON:
        print_json(found)
        return
    several = len(found["targets"]) > 1
    titles = (*_COLUMNS, f"first / this ({document.SPEED})") if several else _COLUMNS
    rows = [row[: len(titles)] for row in page.lines(found)]
    print_table([Column(title) for title in titles], rows)
    print(*comparison, *(f"- {note}" for note in found["notes"]), sep="\n")
    print(f"Times in ms. The whole result: {folder / 'bench.md'}")
