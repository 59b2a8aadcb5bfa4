"""Whisper's graphs in onnxruntime, and the keys and values of the windows that are decoded.

The encoder writes into a slot, the decoder reads and writes rows of neighbouring slots in place.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import CPU, Device
from cupola.workers.device.machine import lower_priority
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from cupola.workers.speech.alignment import attention
from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.windows import WINDOW

_KINDS = ("key", "value")
Integers = dict[str, NDArray[np.int64] | NDArray[np.int32]]


class Row(NamedTuple):
    """The next token of a window."""

    slot: int
    position: int
    token: int


class Attended(NamedTuple):
    """What the decoder makes of a text that is known."""

    logits: Floats  # [wanted, vocabulary]
    weights: Floats  # [heads, tokens, positions]: which moments of the audio a token belongs to


class SpeechSession:
    """The GIL is released while a graph runs. Encoder and decoder may run at the same time."""

    def __init__(
        self,
        folder: ModelFolder,
        *,
        slots: int,
        cache_bytes: int,
        threads: int,
        device: Device = CPU,
    ) -> None:
        """``slots``: windows at once, fewer if they take more than ``cache_bytes``.

        Raises ModelFolderError, ProviderError.
        """
        opened = []
        for name in ("encoder.onnx", "decoder.onnx"):
            options = _options(threads)
            opened.append(partial(device.open, str(folder.path / name), options, name))
        # It works for half a second at a time, beside answers that are waited for token by token.
        self._open_encoder, self._open_decoder = partial(_at_low_priority, opened[0]), opened[1]
        self._encoder, self._decoder = self._open_encoder(), self._open_decoder()
        shapes = {each.name: each.shape for each in self._decoder.get_inputs()}
        heard = {each.name: each.shape for each in self._encoder.get_outputs()}
        inputs = {each.name: each.shape for each in self._encoder.get_inputs()}
        try:
            self.bands = int(inputs["features"][1])
            _, heads, positions, size = heard["cross_value.0"]
            self._key_shape = tuple(heard["cross_key.0"][1:])
            self.vocabulary = int(self._decoder.get_outputs()[0].shape[1])
            shapes["past_key.0"], shapes["wanted"]
            self.places_words = "cross_query.0" in {o.name for o in self._decoder.get_outputs()}
        except (KeyError, ValueError, TypeError, IndexError):
            text = "encoder.onnx and decoder.onnx are no Whisper as Cupola converts them"
            raise ModelFolderError(f"{folder.path.name}: {text}; import the model again") from None
        self.context = folder.context
        self.layers = sum(name.startswith("cross_key.") for name in heard)
        self.heads, self._width = int(heads), int(heads * size)
        row = 2 * self.layers * heads * size * 4
        self.slots = max(1, min(slots, cache_bytes // (row * (positions + self.context))))
        self._audio = _memory(self.layers, self.slots, heads, int(positions), size)
        self._text = _memory(self.layers, self.slots, heads, self.context, size)
        self._bound: dict[range, ort.IOBinding] = {}
        self._logits = np.empty((self.slots, self.vocabulary), np.float32)

    @property
    def upper_heads(self) -> list[tuple[int, int]]:
        """(layer, head) of the decoder's upper layers."""
        upper = range(self.layers // 2, self.layers)
        return [(layer, head) for layer in upper for head in range(self.heads)]

    def encode(self, features: Floats, slot: int) -> None:
        """Hears a window ``[1, bands, 3000]`` into a slot that no row uses."""
        if features.shape != (1, self.bands, WINDOW):
            raise ValueError(f"features of the shape {features.shape}")
        binding = self._encoder.io_binding()
        binding.bind_input("features", "cpu", 0, np.float32, features.shape, features.ctypes.data)
        for layer in range(self.layers):
            for part, kind in enumerate(_KINDS):
                place = self._heard(layer, part, range(slot, slot + 1))
                at = (np.float32, place.shape, place.ctypes.data)
                binding.bind_output(f"cross_{kind}.{layer}", "cpu", 0, *at)
        self._encoder.run_with_iobinding(binding)

    def read(self, slot: int, tokens: Sequence[int], wanted: Sequence[int]) -> Floats:
        """Begins a window: logits ``[wanted, vocabulary]`` behind tokens of these indices."""
        return self._read(self._bind(range(slot, slot + 1)), tokens, wanted)

    def attend(
        self,
        slot: int,
        tokens: Sequence[int],
        wanted: Sequence[int],
        heads: Sequence[tuple[int, int]],
        positions: int,
    ) -> Attended:
        """As ``read``, with what some ``heads`` (layer, head) attend to in the first positions."""
        count = len(tokens)
        binding = self._decoder.io_binding()
        self._bind_memory(binding, range(slot, slot + 1))
        layers = sorted({layer for layer, _ in heads})
        queries = {layer: np.empty((1, count, self._width), np.float32) for layer in layers}
        for layer, query in queries.items():
            at = ("cpu", 0, np.float32, query.shape, query.ctypes.data)
            binding.bind_output(f"cross_query.{layer}", *at)
        logits = self._read(binding, tokens, wanted)
        size = self._audio.shape[-1]
        weights = [
            attention(
                queries[layer][0, :, head * size : (head + 1) * size],
                self._keys(layer, slot, head)[:positions],
            )
            for layer, head in heads
        ]
        return Attended(logits, np.stack(weights))

    def _heard(self, layer: int, part: int, span: range) -> Floats:
        """Keys (``part`` 0) or values of some slots, in the shape that the graphs have for them."""
        place: Floats = self._audio[layer, part, span.start : span.stop]
        return place if part else place.reshape(len(span), *self._key_shape)

    def _keys(self, layer: int, slot: int, head: int) -> Floats:
        """``[positions, size]``. Graphs of older conversions have them in this order."""
        keys = self._heard(layer, 0, range(slot, slot + 1))[0, head]
        size = self._audio.shape[-1]
        return np.asarray(keys if keys.shape[-1] == size else keys.T)

    def _read(self, binding: ort.IOBinding, tokens: Sequence[int], wanted: Sequence[int]) -> Floats:
        count = len(tokens)
        arrays: Integers = {
            "input_ids": np.array([tokens], np.int64),
            "positions": np.arange(count, dtype=np.int64)[None],
            "seqlens_k": np.array([count - 1], np.int32),
            "total_sequence_length": np.array(count, np.int32),
            "wanted": np.array(wanted, np.int64),
        }
        logits = np.empty((len(wanted), self.vocabulary), np.float32)
        self._run(binding, arrays, logits)
        return logits

    def step(self, rows: Sequence[Row]) -> Floats:
        """One token more for each row: logits ``[rows, vocabulary]`` in their order.

        The result is a view that the next step overwrites.
        """
        first = min(row.slot for row in rows)
        span = range(first, max(row.slot for row in rows) + 1)
        binding = self._bind(span)
        ids = np.zeros((len(span), 1), np.int64)
        positions = np.zeros((len(span), 1), np.int64)
        for row in rows:
            ids[row.slot - first], positions[row.slot - first] = row.token, row.position
        arrays: Integers = {
            "input_ids": ids,
            "positions": positions,
            "seqlens_k": positions[:, 0].astype(np.int32),
            "total_sequence_length": np.array(positions.max() + 1, np.int32),
            "wanted": np.array([row.slot - first for row in rows], np.int64),
        }
        logits = self._logits[: len(rows)]
        self._run(binding, arrays, logits)
        return logits

    def rebuild(self) -> None:
        """Start over after a run that failed. Raises ModelFolderError."""
        self._bound.clear()
        del self._decoder, self._encoder  # first: there may be no memory for two
        self._encoder, self._decoder = self._open_encoder(), self._open_decoder()

    def _run(
        self,
        binding: ort.IOBinding,
        arrays: Integers,
        logits: Floats,
    ) -> None:
        for name, array in arrays.items():
            at = (array.dtype.type, array.shape, array.ctypes.data)
            binding.bind_input(name, "cpu", 0, *at)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        self._decoder.run_with_iobinding(binding)

    def _bind(self, span: range) -> ort.IOBinding:
        """Bind the keys and values of some slots, once."""
        if (known := self._bound.get(span)) is not None:
            return known
        binding = self._decoder.io_binding()
        self._bind_memory(binding, span)
        self._bound[span] = binding
        return binding

    def _bind_memory(self, binding: ort.IOBinding, span: range) -> None:
        for layer in range(self.layers):
            for part, kind in enumerate(_KINDS):
                text = self._text[layer, part, span.start : span.stop]
                audio = self._heard(layer, part, span)
                at = ("cpu", 0, np.float32, text.shape, text.ctypes.data)
                binding.bind_input(f"past_{kind}.{layer}", *at)
                binding.bind_output(f"present_{kind}.{layer}", *at)
                at = ("cpu", 0, np.float32, audio.shape, audio.ctypes.data)
                binding.bind_input(f"cross_{kind}.{layer}", *at)


def _at_low_priority(build: Callable[[], ort.InferenceSession]) -> ort.InferenceSession:
    """A session whose threads let others go first: they do as the one that starts them."""
    with ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        return thread.submit(build).result()


def _options(threads: int) -> ort.SessionOptions:
    """The two sessions run at the same time, so a thread that spins takes time from the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _memory(layers: int, slots: int, heads: int, positions: int, size: int) -> Floats:
    """``[layers, keys and values, slots, heads, positions, size]``, committed when touched."""
    shape = (layers, 2, slots, heads, positions, size)
    count = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, 4 * count), np.float32, count).reshape(shape)
