"""A Whisper model's weights under one set of names, whoever wrote the file.

A layer is ``encoder.N`` or ``decoder.N``. Its parts:

    qkv, out                    self-attention: queries, keys and values together; the projection
    cross_q, cross_kv, cross_out  the decoder's attention to the audio
    fc1, fc2                    the two products of the MLP
    norm, cross_norm, mlp_norm  what comes before each of the three
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.ctranslate2_file import CTranslate2File
from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.convert.whisper.whisper_shape import WhisperShape
from cupola.cache.errors import UnsupportedError

Values = npt.NDArray[np.float32]

_CTRANSLATE2 = {
    "qkv": "self_attention/linear_0",
    "out": "self_attention/linear_1",
    "cross_q": "attention/linear_0",
    "cross_kv": "attention/linear_1",
    "cross_out": "attention/linear_2",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
    "norm": "self_attention/layer_norm",
    "cross_norm": "attention/layer_norm",
    "mlp_norm": "ffn/layer_norm",
    "": "layer_norm",
}
_HUGGING_FACE = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.out_proj",),
    "cross_q": ("encoder_attn.q_proj",),
    "cross_kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross_out": ("encoder_attn.out_proj",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    "norm": ("self_attn_layer_norm",),
    "cross_norm": ("encoder_attn_layer_norm",),
    "mlp_norm": ("final_layer_norm",),
    "": ("layer_norm",),
}


class WhisperWeights(Protocol):
    """All methods raise BrokenFileError, UnsupportedError."""

    @property
    def shape(self) -> WhisperShape: ...

    def product(self, layer: str, part: str) -> tuple[Values, Values]:
        """The weight ``[N, K]`` of a product and its bias ``[N]``."""

    def norm(self, layer: str, part: str) -> tuple[Values, Values]:
        """Scale and shift. ``layer`` alone, ``encoder`` or ``decoder``: the norm at its end."""

    def convolution(self, number: int) -> tuple[Values, Values]:
        """The kernel ``[N, K, 3]`` and the bias of the encoder's convolution 1 or 2."""

    def positions(self, stack: str) -> Values:
        """The table of the encoder's or the decoder's positions."""

    def tokens(self) -> Values:
        """The table of the tokens."""

    def head(self) -> Values | None:
        """The output layer ``[N, K]``; None: the table of the tokens."""


def sizes(shape: WhisperShape, layer: str, part: str) -> tuple[int, int]:
    """(N, K) of a product."""
    width = shape.d_model
    inner = shape.encoder_ffn_dim if layer.startswith("encoder") else shape.decoder_ffn_dim
    return {
        "qkv": (3 * width, width),
        "cross_kv": (2 * width, width),
        "fc1": (inner, width),
        "fc2": (width, inner),
    }.get(part, (width, width))


class CTranslate2Weights:
    """Those of CTranslate2's converter."""

    def __init__(self, file: CTranslate2File) -> None:
        if file.specification != "WhisperSpec":
            text = f"CTranslate2's {file.specification} cannot be converted, only its Whisper"
            raise UnsupportedError(text)
        self._file = file
        vocabulary, width = file.shape("decoder/embeddings/weight")
        self.shape = WhisperShape(
            vocab_size=vocabulary,
            num_mel_bins=file.shape("encoder/conv1/weight")[1],
            d_model=width,
            encoder_layers=self._layers("encoder"),
            encoder_attention_heads=file.number("encoder/num_heads"),
            encoder_ffn_dim=file.shape("encoder/layer_0/ffn/linear_0/weight")[0],
            decoder_layers=self._layers("decoder"),
            decoder_attention_heads=file.number("decoder/num_heads"),
            decoder_ffn_dim=file.shape("decoder/layer_0/ffn/linear_0/weight")[0],
            max_target_positions=file.shape("decoder/position_encodings/encodings")[0],
            max_source_positions=file.shape("encoder/position_encodings/encodings")[0],
        )
        self.shape.check()

    def _layers(self, stack: str) -> int:
        count = 0
        while f"{stack}/layer_{count}/ffn/linear_0/weight" in self._file:
            count += 1
        return count

    def _at(self, layer: str, part: str) -> str:
        stack, _, number = layer.partition(".")
        return "/".join([stack, *([f"layer_{number}"] if number else []), _CTRANSLATE2[part]])

    def product(self, layer: str, part: str) -> tuple[Values, Values]:
        at, size = self._at(layer, part), sizes(self.shape, layer, part)
        return self._file.tensor(f"{at}/weight", size), self._file.tensor(f"{at}/bias", size[:1])

    def norm(self, layer: str, part: str = "") -> tuple[Values, Values]:
        at, size = self._at(layer, part), (self.shape.d_model,)
        return self._file.tensor(f"{at}/gamma", size), self._file.tensor(f"{at}/beta", size)

    def convolution(self, number: int) -> tuple[Values, Values]:
        width = self.shape.d_model
        channels = self.shape.num_mel_bins if number == 1 else width
        at = f"encoder/conv{number}"
        kernel = self._file.tensor(f"{at}/weight", (width, channels, 3))
        return kernel, self._file.tensor(f"{at}/bias", (width,))

    def positions(self, stack: str) -> Values:
        return self._file.tensor(f"{stack}/position_encodings/encodings", places(self, stack))

    def tokens(self) -> Values:
        size = (self.shape.vocab_size, self.shape.d_model)
        return self._file.tensor("decoder/embeddings/weight", size)

    def head(self) -> None:
        """It is tied."""


class HuggingFaceWeights:
    """Those of a ``model.safetensors``."""

    def __init__(self, file: SafetensorsFile, shape: WhisperShape) -> None:
        shape.check()
        self.shape = shape
        self._file = file
        # Checkpoints of the bare model leave "model." out.
        self._prefix = "model." if "model.encoder.conv1.weight" in file else ""

    def _names(self, layer: str, part: str) -> list[str]:
        stack, _, number = layer.partition(".")
        place = f"{self._prefix}{stack}." + (f"layers.{number}." if number else "")
        return [place + name for name in _HUGGING_FACE[part]]

    def product(self, layer: str, part: str) -> tuple[Values, Values]:
        rows, columns = sizes(self.shape, layer, part)
        names = self._names(layer, part)
        each = rows // len(names)
        weights = [self._file.tensor(f"{name}.weight", (each, columns)) for name in names]
        biases = [
            self._file.tensor(f"{name}.bias", (each,))
            if f"{name}.bias" in self._file
            else np.zeros(each, np.float32)  # keys have none
            for name in names
        ]
        return np.concatenate(weights), np.concatenate(biases)

    def norm(self, layer: str, part: str = "") -> tuple[Values, Values]:
        (at,) = self._names(layer, part)
        size = (self.shape.d_model,)
        return self._file.tensor(f"{at}.weight", size), self._file.tensor(f"{at}.bias", size)

    def convolution(self, number: int) -> tuple[Values, Values]:
        width = self.shape.d_model
        channels = self.shape.num_mel_bins if number == 1 else width
        at = f"{self._prefix}encoder.conv{number}"
        kernel = self._file.tensor(f"{at}.weight", (width, channels, 3))
        return kernel, self._file.tensor(f"{at}.bias", (width,))

    def positions(self, stack: str) -> Values:
        name = f"{self._prefix}{stack}.embed_positions.weight"
        return self._file.tensor(name, places(self, stack))

    def tokens(self) -> Values:
        size = (self.shape.vocab_size, self.shape.d_model)
        return self._file.tensor(f"{self._prefix}decoder.embed_tokens.weight", size)

    def head(self) -> None:
        """It is tied."""


def places(weights: WhisperWeights, stack: str) -> tuple[int, int]:
    """The sizes of the table of positions."""
    shape = weights.shape
    count = shape.max_source_positions if stack == "encoder" else shape.max_target_positions
    return count, shape.d_model
