"""What choosing the tokens of a step costs, without a model.

    python loadtests/sampling.py --rows 16,32 --vocabulary 49152,152064

The logits are made up: "peaked" ones as a model's are in the middle of a sentence (a few candidates
far above a bell of the rest), "flat" ones where nearly everything is possible. All cases take turns
in every round; printed are medians, in milliseconds a step.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.sampling.logprobs import logprob
from cupola.workers.sampling.penalties import Penalties
from cupola.workers.sampling.sampling import Sampler, penalize, sample

PROMPT = 500  # tokens that the repetition penalty looks at
CASES = {
    "greedy": SamplingParams(temperature=0),
    "greedy, logprobs 5": SamplingParams(temperature=0, logprobs=5),
    "temperature 0.8": SamplingParams(temperature=0.8),
    "temperature 0.8, top_p 0.95": SamplingParams(temperature=0.8, top_p=0.95),
    "temperature 0.2, top_p 0.9": SamplingParams(temperature=0.2, top_p=0.9),
    "temperature 1, top_p 0.9": SamplingParams(temperature=1, top_p=0.9),
    "temperature 1, top_k 40": SamplingParams(temperature=1, top_k=40),
    "temperature 1, min_p 0.05": SamplingParams(temperature=1, min_p=0.05),
    "temperature 1, typical_p 0.9": SamplingParams(temperature=1, typical_p=0.9),
    "temperature 0.8, penalties": SamplingParams(
        temperature=0.8, repetition_penalty=1.1, frequency_penalty=0.5, presence_penalty=0.5
    ),
}

Logits = NDArray[np.float32]


def main() -> None:
    options = _options()
    for vocabulary in options.vocabulary:
        for kind, make in (("peaked", _peaked), ("flat", _flat)):
            for rows in options.rows:
                print(f"{rows} rows x {vocabulary:,}, {kind}")
                logits = make(rows, vocabulary)
                for name, milliseconds in _measure(logits, options.rounds).items():
                    print(f"  {name:32}{milliseconds:8.2f}")


def _measure(logits: Logits, rounds: int) -> dict[str, float]:
    samplers = {name: _samplers(params, len(logits)) for name, params in CASES.items()}
    times: dict[str, list[float]] = {name: [] for name in CASES}
    work = np.empty_like(logits)
    for round_ in range(rounds + 1):
        for name, params in CASES.items():
            np.copyto(work, logits)  # in the cache as far as it fits, as behind a run
            began = time.perf_counter()
            _choose(work, samplers[name], params.logprobs)
            if round_:  # the first one warms up
                times[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(found) for name, found in times.items()}


def _choose(logits: Logits, samplers: list[Sampler], best: int | None) -> None:
    """What the engine does in a step in which every row gets a token."""
    rows = logits if best is None else logits.copy()
    penalize(rows, samplers)
    for row, token in zip(logits, sample(rows, samplers).tolist(), strict=True):
        if best is not None:
            logprob(row, token, best, lambda _: b"")


def _samplers(params: SamplingParams, rows: int) -> list[Sampler]:
    samplers = []
    for row in range(rows):
        penalties = Penalties(params, range(PROMPT), [0])
        for token in range(0, PROMPT, 5):
            penalties.add(token)
        samplers.append(Sampler(params, row, penalties))
    return samplers


def _peaked(rows: int, vocabulary: int) -> Logits:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2.5, (rows, vocabulary)).astype(np.float32)
    for row in logits:
        row[random.integers(0, vocabulary, 30)] = 18 - 0.5 * np.arange(30, dtype=np.float32)
    return logits


def _flat(rows: int, vocabulary: int) -> Logits:
    return np.random.default_rng(1).normal(0, 1, (rows, vocabulary)).astype(np.float32)


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=numbers, default="16,32")
    parser.add_argument("--vocabulary", type=numbers, default="49152,152064")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    main()
