"""An encoder in onnxruntime: one run over padded texts, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import CPU, Device
from cupola.workers.encoder.input_texts import InputText
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class EncoderSession:
    """A model that makes hidden states of token ids, such as BERT, or scores of pairs."""

    def __init__(
        self, folder: ModelFolder, threads: int, device: Device = CPU, *, scores_pairs: bool = False
    ) -> None:
        """Open the model. Raises ModelFolderError, ProviderError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._open = partial(device.open, str(folder.path / "model.onnx"), options, "model.onnx")
        self._session = self._open()
        self._inputs = {each.name for each in self._session.get_inputs()}
        output = self._session.get_outputs()[0]
        if not self._inputs <= _INPUTS or len(output.shape) != (2 if scores_pairs else 3):
            raise ModelFolderError("model.onnx is no encoder: its inputs or outputs are others")
        self._output = output.name
        self.width = int(output.shape[-1])  # of a hidden state, or how many scores a pair has

    def run(self, texts: Sequence[InputText]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Hidden states ``[B, S, width]``, padded at the right, and the texts' lengths ``[B]``.

        A model that scores pairs makes ``[B, width]``.
        """
        lengths = np.array([len(text.tokens) for text in texts], np.int64)
        firsts = lengths - [text.second for text in texts]
        places = np.arange(lengths.max())
        inside = places < lengths[:, None]
        ids = np.zeros(inside.shape, np.int64)
        ids[inside] = np.concatenate([np.asarray(text.tokens, np.int64) for text in texts])
        inputs = {
            "input_ids": ids,
            "attention_mask": inside.astype(np.int64),
            "token_type_ids": (inside & (places >= firsts[:, None])).astype(np.int64),
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
