"""Measures a service for its cost model, and compares simulations with what was measured."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount, Target
from cupola.loadtests.load.results import Record
from cupola.loadtests.load.workloads import Workload, story
from cupola.loadtests.simulate.arrivals import Arrival
from cupola.loadtests.simulate.cost_model import FitError
from cupola.loadtests.simulate.simulation import Setup, Simulation

CLIENTS = (1, 2, 4, 8, 16)
ANSWER_TOKENS = 48  # tokens, where answers are measured
PROMPT_WORDS = (10, 25, 50, 90, 150, 250, 400, 700)
_PROMPTS = 3  # of each length
TOGETHER = (2, 4, 8, 16)  # requests that find the engine idle together
_TIMES_TOGETHER = 3
MIXED_WORDS = (0, 30, 60)  # of prompts that are read beside the answers of other clients
_MIXED_CLIENTS, _MIXED_REQUESTS, _MIXED_TOKENS = 4, 5, 12
_RECORDED = (
    "clients", "rate", "round", "at", "prompt_tokens", "cached_tokens", "tokens", "ttft", "e2e",
)  # fmt: skip
FIGURES = ("tokens_s", "ttft_p50_ms", "ttft_p99_ms", "waiting")


@dataclass(frozen=True, slots=True)
class Compared:
    """One level of load: each figure as it was measured and as it was simulated."""

    level: Level
    measured: Mapping[str, float]
    simulated: Mapping[str, float]

    def error(self, figure: str) -> float:
        """Of the simulation, as a share of what was measured."""
        return self.simulated[figure] / max(self.measured[figure], 1e-9) - 1


def turns() -> int:
    return len(CLIENTS) + len(PROMPT_WORDS) + len(TOGETHER) + len(MIXED_WORDS)


def measure(target: Target, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Lines as of ``requests.jsonl``: answers side by side, prompts one by one and together, and
    prompts beside answers.

    Raises Broken.
    """
    lines: list[dict[str, Any]] = []

    def turn(workload: Workload, level: Level, requests: int, number: int) -> None:
        def keep(record: Record) -> None:
            place = {"target": target.name, "clients": level.clients, "rate": 0, "round": number}
            lines.append(place | record.as_json())

        target.run(workload, level, Amount(requests), number, keep)

    for number, clients in enumerate(CLIENTS, 1):
        tell(f"{clients} answers at once")
        turn(replace(story(ANSWER_TOKENS), name="answers"), Level(clients), 2, number)
    for number, words in enumerate(PROMPT_WORDS, 1):
        tell(f"prompts of {words} words")
        turn(replace(story(2, None, words), name="prompts"), Level(1), _PROMPTS, number)
    for number, clients in enumerate(TOGETHER, 1):
        tell(f"{clients} requests at once")
        turn(replace(story(1), name="together"), Level(clients), _TIMES_TOGETHER, number)
    for number, words in enumerate(MIXED_WORDS, 1):
        tell(f"prompts of {words or 'few'} words beside answers")
        mixed = replace(story(_MIXED_TOKENS, None, words), name=f"mixed {words}")
        turn(mixed, Level(_MIXED_CLIENTS), _MIXED_REQUESTS, number)
    return lines


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def write_recorded(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """What ``validate`` needs of a benchmark's requests, in a tenth of the room."""
    rows = [
        [round(line[key], 4) if isinstance(line[key], float) else line[key] for key in _RECORDED]
        for line in lines
        if line["round"] > 0 and line["end"] == "ok"
    ]
    start = min((row[_RECORDED.index("at")] for row in rows), default=0.0)
    for row in rows:
        row[_RECORDED.index("at")] = round(row[_RECORDED.index("at")] - start, 4)
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_text(f'{{"columns": {json.dumps(_RECORDED)}, "rows": [\n{text}\n]}}\n', "utf-8")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The requests of a benchmark's folder, or of a recorded run. Raises FitError, OSError."""
    path = folder / "requests.jsonl" if folder.is_dir() else folder
    try:
        if path.suffix == ".json":
            recorded = json.loads(path.read_text("utf-8"))
            columns = [*recorded["columns"], "target", "end"]
            rows = [[*row, "", "ok"] for row in recorded["rows"]]
            return [dict(zip(columns, row, strict=True)) for row in rows]
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        [(each["target"], each["round"], each["at"], each["tokens"]) for each in found]
    except (ValueError, LookupError, TypeError):
        raise FitError(f"{path} is no requests.jsonl of cupola bench") from None
    return found


def validate(lines: Iterable[Mapping[str, Any]], setup: Setup) -> list[Compared]:
    """The same requests, simulated: at the same times, or from as many clients.

    A figure is the median over the rounds. Raises FitError if nothing was measured.
    """
    rounds: dict[Level, dict[tuple[str, int], list[Mapping[str, Any]]]] = {}
    for line in lines:
        if line["round"] > 0 and line["end"] == "ok":
            level = Level(line["clients"], line["rate"])
            turn = rounds.setdefault(level, defaultdict(list))
            turn[line["target"], line["round"]].append(line)
    if not rounds:
        raise FitError("no request was answered in that run")
    return [_compare(level, list(some.values()), setup) for level, some in rounds.items()]


def _compare(level: Level, turns: Sequence[list[Mapping[str, Any]]], setup: Setup) -> Compared:
    measured, simulated = [], []
    for lines in turns:
        lines.sort(key=lambda line: line["at"])
        arrivals = list(_arrivals(lines))
        measured.append(_figures(lines))
        found = Simulation(setup).run(arrivals, level.clients).figures()
        simulated.append(found)
    return Compared(level, _medians(measured), _medians(simulated))


def _arrivals(lines: Sequence[Mapping[str, Any]]) -> Iterator[Arrival]:
    start = lines[0]["at"]
    for line in lines:
        yield Arrival(
            line["at"] - start,
            line["prompt_tokens"] or 1,
            max(1, line["tokens"]),
            line["cached_tokens"],
        )


def _figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    began = min(line["at"] for line in lines)
    span = max(1e-9, max(line["at"] + line["e2e"] for line in lines) - began)
    first = sorted(line["ttft"] or line["e2e"] for line in lines)
    at = [first[round(share * (len(first) - 1))] * 1000 for share in (0.5, 0.99)]
    return {
        "tokens_s": sum(line["tokens"] for line in lines) / span,
        "ttft_p50_ms": at[0],
        "ttft_p99_ms": at[1],
        "waiting": sum(first) / span,
    }


def _medians(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in found) for key in FIGURES}
