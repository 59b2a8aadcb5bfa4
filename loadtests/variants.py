"""Compares the speed of model folders: one step of the worker's serving graph at a time.

    python loadtests/variants.py FOLDER FOLDER ... --rows 1,4,16 --prefill 128 --rounds 7
    python loadtests/variants.py FOLDER --int8 --context 2048

The folders take turns in every round, so that a machine whose speed drifts is fair to all. Printed
are medians over the rounds, and the time of the first folder divided by that of each. With --int8
each is there a second time, with keys and values of 8 bits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cupola.cache.home import Home
from cupola.workers.device.device import CPU
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.int8_session import Int8Session
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.session import RaggedSession

STEPS = 8  # of a round; a step's time is the round's median


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        _compare(dict(_sessions(options, Home(Path(scratch)))), options)


def _sessions(options: argparse.Namespace, home: Home) -> Iterator[tuple[str, RaggedSession]]:
    slots = max(*options.rows, 1)
    width = max(options.prefill, slots)
    for path in options.folders:
        folder = ModelFolder.read(path, options.context + options.prefill + STEPS)
        sizes = {"slots": slots, "width": width, "threads": options.threads}
        yield path.name, DecoderSession(folder, **sizes)
        if options.int8:
            link = home.models / path.name  # mapped weights are those of a home's models
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
            weights = PrepackedWeights(home, link, CPU)
            yield f"{path.name}, int8", Int8Session(folder, weights, **sizes)


def _compare(sessions: dict[str, RaggedSession], options: argparse.Namespace) -> None:
    loads = [(f"{count} rows", _decode(count, options.context)) for count in options.rows]
    loads.append((f"prompt of {options.prefill}", [_prompt(0, options.prefill)]))
    for name, rows in loads:
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for session in sessions.values():
            _fill(session, len(rows), options.context, options.prefill)
        for round_ in range(options.rounds):
            for label, session in sessions.items():
                seconds = [_step(session, rows) for _ in range(STEPS)]
                if round_:  # the first one warms up
                    times[label].append(statistics.median(seconds))
        _report(name, times)


def _decode(count: int, context: int) -> list[Row]:
    """One new token in each of ``count`` sequences."""
    return [Row(slot, context, [1000 + slot], logits=1) for slot in range(count)]


def _prompt(slot: int, length: int) -> Row:
    return Row(slot, 0, [1000 + token for token in range(length)], logits=1)


def _fill(session: RaggedSession, count: int, context: int, width: int) -> None:
    """Gives every slot its past."""
    for slot in range(count):
        for start in range(0, context, width):
            tokens = [1000] * min(width, context - start)
            session.run([Row(slot, start, tokens, logits=1)])


def _step(session: RaggedSession, rows: Sequence[Row]) -> float:
    session.run(rows)
    return session.seconds


def _report(name: str, times: dict[str, list[float]]) -> None:
    medians = {each: statistics.median(found) for each, found in times.items()}
    first = next(iter(medians.values()))
    print(name)
    for label, median in medians.items():
        best = min(times[label])
        print(
            f"  {label:46} {median * 1e3:8.2f} ms, best {best * 1e3:8.2f}, "
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
    parser.add_argument("--int8", action="store_true", help="a second time with an int8 cache")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
