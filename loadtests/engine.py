"""Measures the engine alone, in this process, without HTTP and the other processes.

    python loadtests/engine.py FOLDER FOLDER ... --clients 1,16 --rounds 3

The requests are those of ``cupola bench``. The folders take turns in every round, and so do the
values of the setting `reproducible`, if several are given (--reproducible no,always). Printed are
medians of tokens/s, of a step's time, and of the part of it in which the model does not run.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from itertools import product
from pathlib import Path

from cupola.cache.home import Home
from cupola.loadtests.bench.engine_target import EngineTarget
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount
from cupola.loadtests.load.workloads import Workload, story
from cupola.workers.engine_options import EngineOptions


def measure(
    target: EngineTarget, workload: Workload, clients: int, requests: int, seed: int
) -> dict[str, float]:
    """``clients`` apps at once, each asking ``requests`` times, one after the other."""
    level, amount = Level(clients=clients), Amount(requests=requests)
    turn = target.run(workload, level, amount, seed, lambda _: None)
    return {
        "tokens_s": sum(record.tokens for record in turn.records) / turn.seconds,
        "step_ms": statistics.median(target.steps) * 1e3,
        "outside_ms": statistics.median(target.outside) * 1e3,
    }


def main() -> None:
    options = arguments()
    workload = story(options.max_tokens, options.shared_prefix, options.prompt_words)
    settings = EngineOptions(
        slots=options.slots,
        threads=options.threads,
        home=options.home,
        block_bytes=options.block_weights_mb * 2**20,
        lane_bytes=options.lane_weights_mb * 2**20,
    )
    engines = {}
    for folder, which in product(options.folders, options.reproducible.split(",")):
        engine = EngineTarget(folder, replace(settings, reproducible=which))
        measure(engine, workload, clients=2, requests=1, seed=0)
        engines[f"{folder.name}, {which}"] = engine
    for clients in map(int, options.clients.split(",")):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
        for number in range(1, options.rounds + 1):
            for name, engine in engines.items():
                rounds[name].append(measure(engine, workload, clients, options.requests, number))
        for name, found in rounds.items():
            row = {key: statistics.median(each[key] for each in found) for key in found[0]}
            print(
                f"{name}  {clients:>3} clients  {row['tokens_s']:7.1f} tokens/s  "
                f"step {row['step_ms']:6.2f} ms, {row['outside_ms']:5.2f} of it outside the run",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--clients", default="1,16", help="numbers of apps at once")
    parser.add_argument("--requests", type=int, default=2, help="requests of each app")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reproducible", default="asked", help="values of the setting")
    parser.add_argument("--block-weights-mb", type=int, default=512, help="as the setting; 0: none")
    parser.add_argument("--lane-weights-mb", type=int, default=512, help="as the setting; 0: none")
    parser.add_argument(
        "--home", type=lambda path: Home(Path(path)), help="the data folder; without it no lanes"
    )
    parser.add_argument(
        "--shared-prefix",
        nargs="?",
        const="new",
        choices=["new", "known"],
        help="as of bench",
    )
    parser.add_argument("--prompt-words", type=int, default=0, help="long prompts that all differ")
    return parser.parse_args()


if __name__ == "__main__":
    main()
