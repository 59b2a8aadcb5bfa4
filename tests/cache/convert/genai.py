"""onnxruntime-genai as the reference of a converted model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime_genai


def genai_greedy(folder: Path, prompt: list[int], count: int) -> list[int]:
    """What onnxruntime-genai's own loop generates, without the end-of-turn token."""
    onnxruntime_genai.disable_telemetry_events()
    model = onnxruntime_genai.Model(str(folder))
    params = onnxruntime_genai.GeneratorParams(model)
    params.set_search_options(
        max_length=len(prompt) + count, do_sample=False, repetition_penalty=1.0
    )
    generator = onnxruntime_genai.Generator(model, params)
    generator.append_tokens(np.array(prompt, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    found = [int(token) for token in generator.get_sequence(0)[len(prompt) :]]
    return found[:-1] if found and found[-1] in (0, 2) else found
