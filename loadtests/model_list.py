"""Measures how long ``cupola model list`` takes, the whole process, without a network.

    python loadtests/model_list.py --entries 200 --cached 30 --rounds 9

The data folder is made for it: a catalog of the operator's with so many entries, and so many model
folders with weights of no size. The first run, which writes Python's bytecode, does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cupola.cache.home import Home

GENAI = {
    "model": {"type": "llama", "context_length": 8192, "eos_token_id": 2, "vocab_size": 49152},
    "search": {"max_length": 8192, "temperature": 0.7, "top_p": 0.9},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=200, help="entries of the catalog")
    parser.add_argument("--cached", type=int, default=30, help="models on the disk")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        _fill(home, options.entries, options.cached)
        environment = os.environ | {"CUPOLA_HOME": folder, "CUPOLA_CATALOGS": "many.json"}
        _measure(environment)
        times = [_measure(environment) for _ in range(options.rounds)]
    print(f"{options.entries} entries, {options.cached} on the disk, {options.rounds} runs:")
    for name, values in zip(("time", "processor time"), zip(*times, strict=True), strict=True):
        print(f"{name}: median {statistics.median(values):.0f} ms, least {min(values):.0f} ms")


def _fill(home: Home, entries: int, cached: int) -> None:
    models = [
        {
            "alias": f"model-{number}",
            "repository": f"org/model-{number}-gguf",
            "title": f"Model {number}",
            "license": "apache-2.0",
            "billions": 0.5 + number % 30,
            "context": 8192,
            "tags": ["chat", "tools"],
            "about": "Answers questions.",
        }
        for number in range(entries)
    ]
    (home.root / "many.json").write_text(json.dumps({"models": models}))
    for number in range(cached):
        place = home.models / "org" / f"model-{number}-generic-cpu-1"
        place.mkdir(parents=True)
        (place / "genai_config.json").write_text(json.dumps(GENAI))
        told = {"Name": f"model-{number}-generic-cpu:1", "Alias": f"model-{number}"}
        (place / "inference_model.json").write_text(json.dumps(told))
        for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"):
            (place / name).write_bytes(b"{}")


def _measure(environment: dict[str, str]) -> tuple[float, float]:
    """The time and the processor time of one run, in ms."""
    command = [str(Path(sys.executable).with_name("cupola")), "model", "list"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds * 1e3, worked * 1e3


if __name__ == "__main__":
    main()
