"""Measures what constrained answers cost a running service, against free ones of the same length.

    python loadtests/constrained.py
    python loadtests/constrained.py --clients 16 --rounds 5

In every round free and constrained streams take turns, so that a machine whose speed drifts is fair
to both; the figures are medians over the rounds. The schema's documents are longer than any answer
here, so both kinds end at ``max_tokens``. What a mask costs by itself is measured in this process,
with the tokenizer of the model in ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cupola.loadtests.bench.http_target import HttpTarget
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount
from cupola.loadtests.load.results import Objective, figures
from cupola.loadtests.load.server import loopback
from cupola.loadtests.load.workloads import story
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.constraints import Constraints, Matcher
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.sampling.masks import MaskBatch

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["calm", "glad", "sad", "tired"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "mood", "tags"],
    "additionalProperties": False,
}
OBJECTIVE = Objective(1, 0.2)
SCHEMA = {"type": "array", "items": PERSON, "minItems": 1000}


def throughput(options: argparse.Namespace) -> None:
    free = story(options.max_tokens)
    workloads = {"free": free, "constrained": replace(free, schema=SCHEMA)}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workloads}
    target = HttpTarget(options.url, model=options.model)
    level, amount = Level(clients=options.clients), Amount(requests=options.requests)
    for number in range(options.rounds + 1):
        for place, (name, workload) in enumerate(workloads.items()):
            seed = 2 * number + place  # other questions: the prompts of the other kind are cached
            turn = target.run(workload, level, amount, seed, lambda _: None)
            if number:  # the first round loads the model and compiles the grammar
                rounds[name].append(figures(turn.records, turn.seconds, OBJECTIVE))
    for name, found in rounds.items():
        row = {key: statistics.median(one[key] for one in found) for key in found[0]}
        print(
            f"{options.clients} streams, {name:<11}  {row['tokens_s']:6.1f} tokens/s  "
            f"TTFT p50 {row['ttft_p50_ms']:5.0f} ms  ITL p50 {row['itl_p50_ms']:4.0f} ms  "
            f"p99 {row['itl_p99_ms']:4.0f} ms  errors {row['error']:.0f}"
        )
    pairs = zip(rounds["constrained"], rounds["free"], strict=True)
    share = statistics.median(ours["tokens_s"] / theirs["tokens_s"] for ours, theirs in pairs)
    print(f"constrained / free, median of {options.rounds} rounds: {share:.1%}")


def masks(folder: Path, rows: int, steps: int) -> None:
    """Time of a step's masks: until all are there, and until they are applied."""
    model = ModelFolder.read(folder)
    size, ends = 49152, sorted(model.end_tokens)
    constraints = Constraints(folder / "tokenizer.json", size, ends)
    source = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(SCHEMA))
    grammar = constraints.compile(source).result()
    matchers = [grammar.matcher() for _ in range(rows)]
    batch = MaskBatch(rows, size, ends)
    chance = np.random.default_rng(0)
    made, applied = [], []
    for _ in range(steps):
        logits = chance.standard_normal((rows, size)).astype(np.float32)
        began = time.perf_counter()
        for matcher in matchers:
            _mask(matcher, size)
        made.append((time.perf_counter() - began) / rows)
        batch.begin(matchers)
        time.sleep(0.005)  # in which a model would run
        began = time.perf_counter()
        batch.apply(logits)
        applied.append((time.perf_counter() - began) / rows)
        for matcher, token in zip(matchers, logits.argmax(axis=1).tolist(), strict=True):
            matcher.accept(token)
    constraints.close()
    for name, times in (("made", made), ("applied", applied)):
        middle, high = np.percentile(np.array(times) * 1e6, [50, 99])
        print(f"a mask is {name} in {middle:.0f} us (p99 {high:.0f} us) per step and sequence")


def _mask(matcher: Matcher, size: int) -> None:
    bits = np.zeros((size + 31) // 32, np.uint32)
    matcher.state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", type=loopback, default="http://127.0.0.1:5273")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--clients", type=int, default=16, help="streams at once")
    parser.add_argument("--requests", type=int, default=1, help="requests of each in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="a model's folder: measure its masks instead")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.folder is not None:
        masks(options.folder, options.clients, steps=200)
    else:
        throughput(options)


if __name__ == "__main__":
    main()
