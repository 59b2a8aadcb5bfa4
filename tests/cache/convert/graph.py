"""Runs a model folder's graph with plain onnxruntime: no engine, no batching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[np.float32]


class Graph:
    def __init__(self, folder: Path, accuracy_level: int | None = None) -> None:
        """``accuracy_level`` 0 makes MatMulNBits leave its activations in float32."""
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level" and accuracy_level is not None:
                    attribute.i = accuracy_level
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._past = {
            value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
            for value in self._session.get_inputs()
            if value.name.startswith("past_key_values.")
        }

    def logits(self, ids: list[int]) -> Array:
        """``[len(ids), vocabulary]``"""
        return self._run(ids, len(ids), self._past)[0]

    def greedy(self, prompt: list[int], count: int, end: int) -> list[int]:
        """Up to ``count`` tokens after ``prompt``, up to ``end``, fed one at a time."""
        past, step, total, found = self._past, prompt, 0, []
        while len(found) < count:
            total += len(step)
            logits, past = self._run(step, total, past)
            step = [int(logits[-1].argmax())]
            if step[0] == end:
                break
            found += step
        return found

    def _run(
        self, ids: list[int], total: int, past: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        mask = np.ones((1, total), np.int64)
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": mask, **past}
        names = ["logits", *(name.replace("past_key_values", "present") for name in past)]
        logits, *present = self._session.run(names, feed)
        return logits[0], dict(zip(past, present, strict=True))


def log_softmax(logits: Array) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
