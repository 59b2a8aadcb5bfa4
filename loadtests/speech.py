"""How fast speech becomes text, beside faster-whisper, and how many words are wrong.

    python -m loadtests.speech MODEL_FOLDER talk.wav ... --float FOLDER --rounds 5
        --transcripts texts.txt --peer PYTHON --peer-model CTRANSLATE2_FOLDER

All files are asked for at once. faster-whisper, in the interpreter ``--peer``, takes them one after
the other, plain and with its batches; it has the same weights in each of ``--peer-types`` and no
beam. All take turns in every round; printed are medians. ``--transcripts`` has a line for each
file: then the words of ``MODEL_FOLDER`` that are wrong are counted beside those of ``--float``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, Transcribe
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load

PEER = Path(__file__).parent / "host" / "faster_whisper_peer.py"
Round = dict[str, Any]


class Own:
    """A model in this process, without gateway and scheduler."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._woken = threading.Event()
        model = LocalModel("speech", str(folder), ExecutionProvider.CPU)
        self._backend = load(model, EngineOptions(threads=threads), self._woken.set)

    def round(self, files: Sequence[Path]) -> Round:
        """Transcribes all files at once."""
        contents = [file.read_bytes() for file in files]
        wall, used = time.perf_counter(), time.process_time()
        first = 0.0
        texts = {str(number): "" for number in range(len(files))}
        for number, content in enumerate(contents):
            self._backend.add(str(number), Transcribe(content, language="en"))
        running = set(texts)
        while running:
            if not self._backend.busy:
                self._woken.wait(60)
                self._woken.clear()
            for output in self._backend.step():
                if not isinstance(output, Output):
                    raise SystemExit(output.message)
                first = first or time.perf_counter() - wall
                texts[output.request_id] += output.text
                if output.last:
                    running.discard(output.request_id)
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - used,
            "first": first,
            "texts": list(texts.values()),
        }


class Peer:
    """faster-whisper in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def round(self) -> Round:
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("the peer has no pipes")
        print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("the peer has ended; does its interpreter have faster-whisper?")
        return dict(json.loads(answer))


def word_errors(said: str, meant: str) -> tuple[int, int]:
    """Words that are wrong, missing or too many, and how many were meant."""
    heard, wanted = _words(said), _words(meant)
    row = list(range(len(heard) + 1))
    for number, word in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            before, row[place] = (
                row[place],
                min(before + (word != other), row[place] + 1, row[place - 1] + 1),
            )
    return row[-1], len(wanted)


def _words(text: str) -> list[str]:
    return re.sub(r"[^\w' ]", "", text.lower().replace("mr.", "mister").replace("-", " ")).split()


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        cases: dict[str, Callable[[], Round]] = {}
        own = Own(options.model, options.threads)
        cases["cupola"] = lambda: own.round(options.files)
        if options.float:
            floats = Own(options.float, options.threads)
            cases["cupola, float32"] = lambda: floats.round(options.files)
        kinds = itertools.product(("plain", "batched"), options.peer_types.split(","))
        for kind, numbers in kinds if options.peer else ():
            process = stack.enter_context(_peer(options, kind, numbers))
            stack.callback(process.terminate)
            peer = Peer(process)
            cases[f"faster-whisper, {kind}, {numbers}"] = peer.round
        rounds: dict[str, list[Round]] = {name: [] for name in cases}
        for number in range(options.rounds + 1):
            for name, run in cases.items():
                found = run()
                if number:  # the first one warms up
                    rounds[name].append(found)
    _print(rounds, options.transcripts)


def _peer(options: argparse.Namespace, kind: str, numbers: str) -> subprocess.Popen[str]:
    given = [options.peer_model, kind, numbers, options.threads, *options.files]
    command = [options.peer, PEER, *given]
    return subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _print(rounds: dict[str, list[Round]], transcripts: Path | None) -> None:
    base = _median(rounds["cupola"], "wall")
    print("| | wall, s | CPU, s | first words, s | wall, x | words wrong |")
    print("|---|---|---|---|---|---|")
    for name, each in rounds.items():
        wall, used, first = (_median(each, key) for key in ("wall", "cpu", "first"))
        wrong = _wrong(each[-1]["texts"], transcripts) if transcripts else ""
        print(
            f"| {name} | {wall:.2f} | {used:.2f} | {first:.2f} | {wall / base:.2f} | {wrong} |",
        )


def _median(rounds: Sequence[Round], key: str) -> float:
    return float(statistics.median(each.get(key, 0.0) for each in rounds))


def _wrong(texts: Sequence[str], transcripts: Path) -> str:
    lines = transcripts.read_text("utf-8").splitlines()
    counts = [word_errors(*each) for each in zip(texts, lines, strict=True)]
    wrong, words = (sum(column) for column in zip(*counts, strict=True))
    return f"{wrong} of {words}: {100 * wrong / max(1, words):.2f}%"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--float", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--peer-model", type=Path)
    parser.add_argument("--peer-types", default="int8,float32")
    parser.add_argument("--transcripts", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
