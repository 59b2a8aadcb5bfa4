"""Greedy decoding by onnxruntime-genai itself, one sequence at a time."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import onnxruntime_genai as og

from tests.workers.reference import DATA


class Answer(NamedTuple):
    tokens: list[int]
    logits: np.ndarray  # of each of them


@cache
def _model(name: str) -> og.Model:
    og.disable_telemetry_events()
    return og.Model(str(DATA / name))


@cache
def greedy_answer(name: str, prompt: tuple[int, ...], count: int) -> Answer:
    """Also past a token that would end the answer."""
    params = og.GeneratorParams(_model(name))
    params.set_search_options(do_sample=False, max_length=len(prompt) + count)
    generator = og.Generator(_model(name), params)
    generator.append_tokens(list(prompt))
    tokens: list[int] = []
    logits: list[np.ndarray] = []
    while len(tokens) < count:
        logits.append(generator.get_logits()[0, -1].copy())
        tokens.append(int(logits[-1].argmax()))
        if len(tokens) < count:
            generator.append_tokens(tokens[-1:])
    return Answer(tokens, np.stack(logits))
