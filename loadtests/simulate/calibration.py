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
ALONE, ALONE_RATE = 40, 3.0  # short requests, most of which find the engine idle for a while
TOGETHER = (2, 4, 8, 16)  # requests that find the engine idle together
_TIMES_TOGETHER = 3
MIXED_WORDS = (0, 30, 60)  # of prompts that are read beside the answers of other clients
_MIXED_CLIENTS, _MIXED_REQUESTS, _MIXED_TOKENS = 4, 5, 12
_RECORDED = (
    "clients", "rate", "round", "at", "prompt_tokens", "cached_tokens", "tokens", "steps", "ttft",
    "e2e",
)  # fmt: skip
_ONE_STEP = 0.3  # share of an answer's mean gap: pieces that are closer came of one step
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
    return len(CLIENTS) + len(PROMPT_WORDS) + 1 + len(TOGETHER) + len(MIXED_WORDS)


def measure(target: Target, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Lines as of ``requests.jsonl``: answers side by side, prompts one by one and together, and
    prompts beside answers.

    Raises Broken.
    """
    lines: list[dict[str, Any]] = []

    def turn(workload: Workload, level: Level, requests: int, number: int) -> None:
        def keep(record: Record) -> None:
            place = {"target": target.name, "clients": level.clients, "rate": level.rate}
            lines.append(place | {"round": number} | record.as_json())

        target.run(workload, level, Amount(requests, seconds=0), number, keep)

    for number, clients in enumerate(CLIENTS, 1):
        tell(f"{clients} answers at once")
        turn(replace(story(ANSWER_TOKENS), name="answers"), Level(clients), 2, number)
    for number, words in enumerate(PROMPT_WORDS, 1):
        tell(f"prompts of {words} words")
        turn(replace(story(2, None, words), name="prompts"), Level(1), _PROMPTS, number)
    tell("short requests now and then")
    turn(replace(story(1), name="alone"), Level(rate=ALONE_RATE), ALONE, 1)
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
    kept = (line for line in lines if line["round"] > 0 and line["end"] == "ok")
    told = ({**line, "steps": _steps(line)} for line in kept)
    rows = [
        [round(line[key], 4) if isinstance(line[key], float) else line[key] for key in _RECORDED]
        for line in told
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
    """The same requests, simulated: at the same times, or from as many clients, with as many tokens
    a step.

    Each round is compared with a simulation of its own requests. A figure is of the round whose
    error is the median. Raises FitError if nothing was measured.
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
    gain = _tokens_a_step([line for lines in turns for line in lines])
    setup = replace(setup, costs=replace(setup.costs, tokens_a_step=gain))
    for lines in turns:
        lines.sort(key=lambda line: line["at"])
        arrivals = list(_arrivals(lines))
        measured.append(_figures(lines))
        found = Simulation(setup).run(arrivals, level.clients).figures()
        simulated.append(found)
    return Compared(level, *_typical(list(zip(measured, simulated, strict=True))))


def _tokens_a_step(lines: Sequence[Mapping[str, Any]]) -> float:
    """What draft tokens gain depends on the texts, so it is the run's own, as the lengths are."""
    tokens = float(sum(line["tokens"] - 1 for line in lines))
    return max(1.0, tokens / max(1, sum(map(_steps, lines))))


def _steps(line: Mapping[str, Any]) -> int:
    """The steps of an answer after its first text."""
    if "steps" in line or not line.get("gaps"):
        return int(line.get("steps", line["tokens"] - 1))
    near = _ONE_STEP * statistics.fmean(line["gaps"])
    return sum(gap >= near for gap in line["gaps"])


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


def _typical(
    rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
) -> tuple[dict[str, float], dict[str, float]]:
    measured, simulated = {}, {}
    for key in FIGURES:
        pairs = sorted(
            ((one[key], other[key]) for one, other in rounds), key=lambda pair: pair[1] / pair[0]
        )
        measured[key], simulated[key] = pairs[(len(pairs) - 1) // 2]
    return measured, simulated
