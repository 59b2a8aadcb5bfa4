"""Transcribes files with faster-whisper, for comparison. Run by an interpreter that has it.

It imports nothing of Cupola. It waits for a line on standard input before each round, so that the
rounds of both sides can take turns, and answers with a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any


def main() -> None:
    folder, kind, compute_type, threads, *files = sys.argv[1:]
    library: Any = importlib.import_module("faster_whisper")
    model = library.WhisperModel(
        folder, device="cpu", compute_type=compute_type, cpu_threads=int(threads)
    )
    batched = library.BatchedInferencePipeline(model)
    for _ in sys.stdin:
        wall, used = time.perf_counter(), time.process_time()
        texts = []
        for file in files:
            if kind == "batched":
                found, _ = batched.transcribe(file, language="en", beam_size=1, batch_size=16)
            else:
                found, _ = model.transcribe(
                    file, language="en", beam_size=1, condition_on_previous_text=False
                )
            texts.append("".join(segment.text for segment in found))
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - used}
        print(json.dumps(took | {"texts": texts}), flush=True)


if __name__ == "__main__":
    main()
