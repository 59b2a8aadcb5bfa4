"""The encoder's graph: spectrograms in, the keys and values that the decoder attends to out."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.graph.graph_nodes import MICROSOFT
from cupola.cache.convert.whisper.whisper_layers import WhisperLayers
from cupola.cache.convert.whisper.whisper_shape import AUDIO_POSITIONS, FRAMES

# Where the axes of [batch, positions, heads, size] go.
_PLACES = {"key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}


def audio_encoder(layers: WhisperLayers) -> onnx.ModelProto:
    """Input ``features`` ``[B, mel bins, 3000]``. Outputs, for each layer of the decoder,
    ``cross_key.N`` ``[B, heads, head size, 1500]`` and ``cross_value.N`` ``[B, heads, 1500, head
    size]``: as the decoder's products read them.

    The products of all decoder layers are here, so that they are computed once for a window.
    """
    shape = layers.shape
    hidden = _convolution(layers, "features", 1, stride=1)
    hidden = _convolution(layers, hidden, 2, stride=2)
    rows = layers.node("Transpose", [hidden], "rows", perm=[0, 2, 1])
    places = layers.table("places", layers.weights.positions("encoder"))
    stream = layers.node("Add", [rows, places], "stream")
    normed = layers.first_norm(stream, "encoder.0")
    for number in range(shape.encoder_layers):
        layer = f"encoder.{number}"
        parts = [f"{layer}.{part}" for part in ("q", "k", "v")]
        attended = layers.node(
            "MultiHeadAttention",
            layers.split(layers.product(normed, layer, "qkv"), parts),
            f"{layer}.attended",
            MICROSOFT,
            num_heads=shape.encoder_attention_heads,
        )
        stream, normed = layers.joined(attended, stream, layer, "out", (layer, "mlp_norm"))
        last = number + 1 == shape.encoder_layers
        following = ("encoder", "") if last else (f"encoder.{number + 1}", "norm")
        stream, normed = layers.mlp(normed, stream, layer, following)
    return _with_keys(layers, normed)


def _convolution(layers: WhisperLayers, x: str, number: int, stride: int) -> str:
    kernel, bias = layers.weights.convolution(number)
    name = f"encoder.conv{number}"
    inputs = [x, layers.table(f"{name}.weight", kernel), layers.table(f"{name}.bias", bias)]
    out = layers.node("Conv", inputs, f"{name}.out", pads=[1, 1], strides=[stride])
    return layers.node("Gelu", [out], f"{name}.active", MICROSOFT)


def _with_keys(layers: WhisperLayers, audio: str) -> onnx.ModelProto:
    shape = layers.shape
    heads = shape.decoder_attention_heads
    size = shape.d_model // heads
    layers.constant("by_heads", np.array([0, AUDIO_POSITIONS, heads, size], np.int64))
    outputs = []
    for number in range(shape.decoder_layers):
        both = layers.product(audio, f"decoder.{number}", "cross_kv")
        names = [f"decoder.{number}.cross_k", f"decoder.{number}.cross_v"]
        parts = dict(zip(("key", "value"), layers.split(both, names), strict=True))
        for kind, part in parts.items():
            split = layers.node("Reshape", [part, "by_heads"], f"{part}.heads")
            perm, sizes = _PLACES[kind], [AUDIO_POSITIONS, heads, size]
            out = layers.node("Transpose", [split], f"cross_{kind}.{number}", perm=perm)
            shapes: list[str | int | None] = ["batch", *(sizes[axis - 1] for axis in perm[1:])]
            outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, shapes))
    frames: list[str | int | None] = ["batch", shape.num_mel_bins, FRAMES]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, frames)
    return layers.model("audio_encoder", [features], outputs)
