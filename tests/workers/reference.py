"""Greedy decoding of a model folder by the plainest means: one sequence, no cache, whole graph."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

DATA = Path(__file__).parent / "data"
HEAD_SIZE = 16  # of the models in DATA


class PlainDecoder:
    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(folder / "model.onnx"), options)
        self.answers: dict[tuple[int, ...], int] = {}

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Of the last token."""
        ids = np.array([tokens], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        for value in self.session.get_inputs():
            if value.name == "position_ids":
                feed[value.name] = np.arange(len(tokens), dtype=np.int64)[None]
            if value.name.startswith("past_key_values."):
                dtype = np.float16 if value.type == "tensor(float16)" else np.float32
                feed[value.name] = np.zeros((1, value.shape[1], 0, HEAD_SIZE), dtype)
        return np.asarray(self.session.run(["logits"], feed)[0][0, -1])

    def next(self, tokens: list[int]) -> int:
        key = tuple(tokens)
        if key not in self.answers:
            self.answers[key] = int(self.logits(tokens).argmax())
        return self.answers[key]

    def generate(self, prompt: list[int], count: int, end: frozenset[int] = frozenset()):
        tokens = list(prompt)
        for _ in range(count):
            tokens.append(self.next(tokens))
            if tokens[-1] in end:
                break
        return tokens[len(prompt) :]


@cache
def plain_decoder(name: str) -> PlainDecoder:
    return PlainDecoder(DATA / name)
