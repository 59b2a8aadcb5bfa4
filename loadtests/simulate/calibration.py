"""Measures a service for its cost model, and keeps what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount, Target
from cupola.loadtests.load.results import Record
from cupola.loadtests.load.workloads import Lengths, Workload, story
from cupola.loadtests.simulate.cost_model import FitError
from cupola.loadtests.simulate.drafts import steps_of

CLIENTS = (1, 2, 4, 8, 16)
ANSWER_TOKENS = 48  # tokens, where answers are measured
PROMPT_WORDS = (10, 25, 50, 90, 150, 250, 400, 700)
_PROMPTS = 3  # of each length
# Short requests, most of which find the engine idle. They are enough to have the slowest of a
# hundred among them.
ALONE, ALONE_SECONDS, ALONE_RATE = 40, 45.0, 4.0
ALONE_TOKENS = 4  # so that weights which only single tokens need have been in the processor's cache
_ALONE_BUSY = 0.25  # share of the time at most, so that a slow server is idle between them too
TOGETHER = (2, 4, 8, 16)  # requests that find the engine idle together
_TIMES_TOGETHER = 5
MIXED_WORDS = (0, 30, 60)  # of prompts that are read beside the answers of other clients
MIXED_CLIENTS = (4, 8)
_MIXED_REQUESTS = 8
_MIXED_TOKENS = Lengths(12, 36, sigma=0.5)  # so that they do not all begin together again
_REQUESTS = "requests.jsonl"
_ROUNDS = 10_000  # of a benchmark, at most, so that those of several can be told apart
_RECORDED = (
    "clients", "rate", "round", "at", "prompt_tokens", "cached_tokens", "tokens", "steps",
    "rejected_drafts", "ttft", "e2e",
)  # fmt: skip

_Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Time = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class _Line(msgspec.Struct):
    """What is needed of a request; what there is besides may be anything."""

    target: str
    clients: _Count
    rate: _Seconds
    round: _Count
    at: _Time
    end: str
    tokens: _Count
    prompt_tokens: _Count | None
    cached_tokens: _Count
    ttft: _Seconds | None
    e2e: _Seconds
    name: str = ""
    gaps: tuple[_Seconds, ...] = ()
    steps: _Count = 0
    accepted_drafts: _Count | None = None
    rejected_drafts: _Count = 0


def turns() -> int:
    mixed = len(MIXED_CLIENTS) * len(MIXED_WORDS)
    return len(CLIENTS) + len(PROMPT_WORDS) + 1 + len(TOGETHER) + mixed + 1


def measure(target: Target, tell: Callable[[str], None], seed: int) -> list[dict[str, Any]]:
    """Lines as of ``requests.jsonl``: answers side by side, prompts one by one and together, and
    prompts beside answers.

    ``seed``: another one has other texts, which the server has not read before. Raises Broken.
    """
    lines: list[dict[str, Any]] = []

    def turn(
        workload: Workload, level: Level, requests: int, number: int, seconds: float = 0
    ) -> None:
        def keep(record: Record) -> None:
            place = {"target": target.name, "clients": level.clients, "rate": level.rate}
            lines.append(place | {"round": number} | record.as_json())

        target.run(workload, level, Amount(requests, seconds), seed + number, keep)

    tell("warm-up")  # the first steps of a service are slow
    answers = replace(story(ANSWER_TOKENS), name="answers")
    for clients in CLIENTS[:3]:
        turn(answers, Level(clients), 1, 0)
    for number, clients in enumerate(CLIENTS, 1):
        tell(f"{clients} answers at once")
        turn(answers, Level(clients), 2, number)
    for number, words in enumerate(PROMPT_WORDS, 1):
        tell(f"prompts of {words} words")
        turn(replace(story(2, None, words), name="prompts"), Level(1), _PROMPTS, number)
    tell("short requests now and then")
    often = Level(rate=min(ALONE_RATE, _ALONE_BUSY / _shortest_answer(lines)))
    turn(replace(story(ALONE_TOKENS), name="alone"), often, ALONE, 1, ALONE_SECONDS)
    for number, clients in enumerate(TOGETHER, 1):
        tell(f"{clients} requests at once")
        turn(replace(story(1), name="together"), Level(clients), _TIMES_TOGETHER, number)
    for number, (clients, words) in enumerate(product(MIXED_CLIENTS, MIXED_WORDS), 1):
        tell(f"prompts of {words or 'few'} words beside {clients - 1} answers")
        mixed = replace(story(0, None, words), name=f"mixed {words}", answer=_MIXED_TOKENS)
        turn(mixed, Level(clients), _MIXED_REQUESTS, number)
    return lines


def _shortest_answer(lines: Iterable[Mapping[str, Any]]) -> float:
    answers = [line["e2e"] for line in lines if line["name"] == "prompts" and line["ttft"]]
    return max(min(answers, default=0.0), 1e-3)


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def write_recorded(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """What ``validation`` needs of a benchmark's requests, in a tenth of the room."""
    kept = (line for line in lines if line["round"] > 0 and line["end"] == "ok")
    told = ({"rejected_drafts": 0, **line, "steps": steps_of(line)} for line in kept)
    rows = [
        [round(line[key], 4) if isinstance(line[key], float) else line[key] for key in _RECORDED]
        for line in told
    ]
    start = min((row[_RECORDED.index("at")] for row in rows), default=0.0)
    for row in rows:
        row[_RECORDED.index("at")] = round(row[_RECORDED.index("at")] - start, 4)
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_text(f'{{"columns": {json.dumps(_RECORDED)}, "rows": [\n{text}\n]}}\n', "utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The requests of a benchmark's folder, of a folder of such folders, or of a recorded run.

    Raises FitError, OSError.
    """
    if not path.is_dir():
        return _lines_of(path)
    files = sorted(path.glob(f"*/{_REQUESTS}"))
    if (path / _REQUESTS).exists() or not files:
        return _lines_of(path / _REQUESTS)
    return [
        {**line, "round": line["round"] and line["round"] + number * _ROUNDS}
        for number, file in enumerate(files)
        for line in _lines_of(file)
    ]


def _lines_of(path: Path) -> list[dict[str, Any]]:
    """Raises FitError, OSError."""
    data, found = path.read_bytes(), list[dict[str, Any]]()
    recorded = path.suffix == ".json"
    try:
        for line in _rows(data) if recorded else map(msgspec.json.decode, data.splitlines()):
            msgspec.convert(line, _Line)
            found.append(line)
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError) as error:
        text = f"{path} is no requests.jsonl of cupola bench: request {len(found) + 1}: {error}"
        raise FitError(text) from None
    return found


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The requests of a file that ``write_recorded`` has made."""
    recorded = msgspec.json.decode(data)
    columns = [*recorded["columns"], "target", "end"]
    for row in recorded["rows"]:
        yield dict(zip(columns, [*row, "", "ok"], strict=True))
