"""Runs a model folder's graph with plain onnxruntime: no engine, no batching."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from cupola.cache.convert.formats.unsigned_weights import for_this_processor
from cupola.cache.convert.formats.weights_file import DATA_FILE, WeightsFile
from cupola.cache.convert.graph.blocks import DecoderBlocks
from cupola.cache.convert.graph.decoder_graph import decoder_graph
from cupola.cache.convert.graph.initializers import Initializers
from cupola.cache.convert.weights.decoder_weights import DecoderWeights
from cupola.cache.precision import Precision

Array = npt.NDArray[np.float32]


class Graph:
    def __init__(
        self,
        folder: Path,
        accuracy_level: int | None = None,
        *,
        content: bytes | None = None,
        weights: Mapping[str, npt.NDArray[np.generic]] = MappingProxyType({}),
    ) -> None:
        """``accuracy_level`` 0 makes MatMulNBits leave its activations in float32.

        ``content``: another graph over the same files. ``weights``: those that it has in no file.
        """
        content = content or (folder / "model.onnx").read_bytes()
        model = onnx.load_from_string(for_this_processor(content))
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level" and accuracy_level is not None:
                    attribute.i = accuracy_level
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
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
        past, step, total = self._past, prompt, 0
        found: list[int] = []
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
    """The logarithms of the probabilities, ``[tokens, vocabulary]``."""
    found = np.empty(logits.shape, np.float64)
    for row, out in zip(logits, found, strict=True):  # one that stays in the processor's cache
        np.subtract(row, row.max(), out=out, dtype=np.float64)
        out -= np.log(np.exp(out).sum())
    return found


def divergences(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> list[float]:
    """The KL divergence of ``q`` from ``p`` at each token, both from ``log_softmax``."""
    return [float(np.exp(right) @ (right - other)) for right, other in zip(p, q, strict=True)]


def written(blocks: DecoderBlocks, weights: DecoderWeights, folder: Path) -> Graph:
    """The decoder of ``weights`` in float32, written to ``folder``."""
    folder.mkdir()
    with WeightsFile(folder / DATA_FILE) as data:
        stored = Initializers(data, Precision.FP32, lambda size: None)
        model = decoder_graph(blocks, weights, stored)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return Graph(folder)
