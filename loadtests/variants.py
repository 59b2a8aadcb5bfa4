"""Compares the speed of model folders: one step of the worker's serving graph at a time.

    python loadtests/variants.py FOLDER FOLDER ... --rows 1,4,16 --prefill 128 --rounds 7

The folders take turns in every round, so that a machine whose speed drifts is fair to all. Printed
are medians over the rounds, and the time of the first folder divided by that of each.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from cupola.workers.model_folder import ModelFolder
from cupola.workers.packing import Row
from cupola.workers.session import DecoderSession

STEPS = 8  # of a round; a step's time is the round's median


def main() -> None:
    options = _options()
    slots = max(*options.rows, 1)
    contestants = {
        path: DecoderSession(
            ModelFolder.read(path, options.context + options.prefill + STEPS),
            slots=slots,
            width=max(options.prefill, slots),
            threads=options.threads,
        )
        for path in options.folders
    }
    loads = [(f"{count} rows", _decode(count, options.context)) for count in options.rows]
    loads.append((f"prompt of {options.prefill}", [_prompt(0, options.prefill)]))
    for name, rows in loads:
        times: dict[Path, list[float]] = {path: [] for path in contestants}
        for session in contestants.values():
            _fill(session, len(rows), options.context)
        for round_ in range(options.rounds):
            for path, session in contestants.items():
                seconds = [_step(session, rows) for _ in range(STEPS)]
                if round_:  # the first one warms up
                    times[path].append(statistics.median(seconds))
        _report(name, times)


def _decode(count: int, context: int) -> list[Row]:
    """One new token in each of ``count`` sequences."""
    return [Row(slot, context, [1000 + slot], logits=1) for slot in range(count)]


def _prompt(slot: int, length: int) -> Row:
    return Row(slot, 0, [1000 + token for token in range(length)], logits=1)


def _fill(session: DecoderSession, count: int, context: int) -> None:
    """Gives every slot its past."""
    for slot in range(count):
        session.run([_prompt(slot, context)])


def _step(session: DecoderSession, rows: Sequence[Row]) -> float:
    session.run(rows)
    return session.seconds


def _report(name: str, times: dict[Path, list[float]]) -> None:
    medians = {path: statistics.median(found) for path, found in times.items()}
    first = next(iter(medians.values()))
    print(name)
    for path, median in medians.items():
        best = min(times[path])
        print(
            f"  {path.name:40} {median * 1e3:8.2f} ms, best {best * 1e3:8.2f}, "
            f"speed {first / median:.2f}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--rows", type=lambda text: [int(n) for n in text.split(",")], default="1,4,16"
    )
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("--context", type=int, default=100, help="tokens in each row's past")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
