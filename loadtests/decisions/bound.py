"""What the model alone can do: tokens in a second of its runs, without anything around them."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from statistics import median

from cupola.cache.home import Home
from cupola.loadtests.bench.engine_target import EngineTarget
from cupola.workers.engine.engine import Engine
from cupola.workers.engine_options import EngineOptions
from cupola.workers.run.packing import Row

_STATE, _QUESTION = 1_008, 24  # tokens
_RUNS = (
    ("the first 256 tokens of a prompt", 1, 0, 256),
    ("tokens 768 to 1,024", 1, 768, 256),
    ("8 questions behind nothing", 8, 0, _QUESTION),
    ("8 questions behind a state", 8, _STATE, _QUESTION),
    ("one question behind a state", 1, _STATE, _QUESTION),
)


def show(home: Home, folder: Path, threads: int, rounds: int) -> None:
    options = EngineOptions(slots=8, threads=threads, home=home, lane_bytes=0, block_bytes=0)
    engine = EngineTarget(folder, options).engine
    assert isinstance(engine, Engine)
    chance = Random(1)
    print("| one run of the model | tokens | seconds | tokens/s |\n|---|---|---|---|")
    for name, rows, past, count in _RUNS:
        batch = [
            Row(slot, past, chance.choices(range(1_000, 20_000), k=count), 1)
            for slot in range(rows)
        ]
        found = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            engine.session.run(batch)
            found.append(time.perf_counter() - began)
        seconds, tokens = median(found[1:]), rows * count
        print(f"| {name} | {tokens} | {seconds:.3f} | {tokens / seconds:.0f} |", flush=True)
