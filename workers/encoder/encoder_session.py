"""An encoder in onnxruntime: one run over padded texts, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import CPU, Device
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class EncoderSession:
    """A model that makes hidden states of token ids, such as BERT."""

    def __init__(self, folder: ModelFolder, threads: int, device: Device = CPU) -> None:
        """Open the model. Raises ModelFolderError, ProviderError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._open = partial(device.open, str(folder.path / "model.onnx"), options, "model.onnx")
        self._session = self._open()
        self._inputs = {each.name for each in self._session.get_inputs()}
        output = self._session.get_outputs()[0]
        if not self._inputs <= _INPUTS or len(output.shape) != 3:
            raise ModelFolderError("model.onnx is no encoder: its inputs or outputs are others")
        self._output = output.name
        self.width = int(output.shape[2])  # of a hidden state

    def run(self, texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Hidden states ``[B, S, width]``, padded at the right, and the texts' lengths ``[B]``."""
        lengths = np.array([len(text) for text in texts], np.int64)
        inside = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(inside.shape, np.int64)
        ids[inside] = np.concatenate([np.asarray(text, np.int64) for text in texts])
        inputs = {
            "input_ids": ids,
            "attention_mask": inside.astype(np.int64),
            "token_type_ids": np.zeros_like(ids),
        }
        feed = {name: inputs[name] for name in self._inputs}
        (hidden,) = self._session.run([self._output], feed)
        return hidden, lengths

    def rebuild(self) -> None:
        """Start over after a run that failed, which can leave a session unusable.

        Raises ModelFolderError.
        """
        del self._session  # first: there may be no memory for two
        self._session = self._open()
