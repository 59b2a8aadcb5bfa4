"""The decoder's graph: tokens in, logits out. Its keys and values are read and written in place."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.graph.graph_nodes import MICROSOFT
from cupola.cache.convert.whisper.whisper_layers import WhisperLayers
from cupola.cache.convert.whisper.whisper_shape import AUDIO_POSITIONS


def text_decoder(layers: WhisperLayers) -> onnx.ModelProto:
    """The inputs:

    ``input_ids``, ``positions`` ``[B, S]``; S is 1, or B is 1
    ``seqlens_k`` ``[B]``, ``total_sequence_length``   as GroupQueryAttention has them
    ``wanted`` ``[R]``                                 tokens of the flat ``[B * S]`` with logits
    ``past_key.N``, ``past_value.N``                   ``[B, heads, capacity, head size]``
    ``cross_key.N``, ``cross_value.N``                 what ``audio_encoder`` has made

    The outputs are ``logits`` ``[R, vocabulary]``, ``present_key.N``, ``present_value.N``, and
    ``cross_query.N`` ``[B, S, width]``: what asks for the audio. It tells which moment of the audio
    a token belongs to.
    """
    shape = layers.shape
    width, heads = shape.d_model, shape.decoder_attention_heads
    tokens = layers.weights.tokens()
    layers.table("tokens", tokens)
    layers.table("places", layers.weights.positions("decoder"))
    word = layers.node("Gather", ["tokens", "input_ids"], "word")
    place = layers.node("Gather", ["places", "positions"], "place")
    stream = layers.node("Add", [word, place], "stream")
    normed = layers.first_norm(stream, "decoder.0")
    layers.constant("by_heads", np.array([0, 0, heads, width // heads], np.int64))
    layers.constant("joined", np.array([0, 0, width], np.int64))
    for number in range(shape.decoder_layers):
        layer = f"decoder.{number}"
        attended = _to_text(layers, normed, number)
        stream, normed = layers.joined(attended, stream, layer, "out", (layer, "cross_norm"))
        query = layers.node(
            "Identity", [layers.product(normed, layer, "cross_q")], f"cross_query.{number}"
        )
        attended = _to_audio(layers, query, number)
        stream, normed = layers.joined(attended, stream, layer, "cross_out", (layer, "mlp_norm"))
        last = number + 1 == shape.decoder_layers
        following = ("decoder", "") if last else (f"decoder.{number + 1}", "norm")
        stream, normed = layers.mlp(normed, stream, layer, following)
    layers.constant("flat", np.array([-1, width], np.int64))
    rows = layers.node("Reshape", [normed, "flat"], "rows")
    chosen = layers.node("Gather", [rows, "wanted"], "chosen")
    head = layers.weights.head()
    logits = layers.head(chosen, tokens if head is None else head)
    layers.node("Identity", [logits], "logits")
    return _model(layers)


def _to_text(layers: WhisperLayers, normed: str, number: int) -> str:
    layer, heads = f"decoder.{number}", layers.shape.decoder_attention_heads
    parts = [f"{layer}.{part}" for part in ("q", "k", "v")]
    qkv = layers.split(layers.product(normed, layer, "qkv"), parts)
    past = [f"past_key.{number}", f"past_value.{number}"]
    outputs = [f"{layer}.attended", f"present_key.{number}", f"present_value.{number}"]
    layers.nodes(
        "GroupQueryAttention",
        [*qkv, *past, "seqlens_k", "total_sequence_length"],
        outputs,
        MICROSOFT,
        num_heads=heads,
        kv_num_heads=heads,
    )
    return outputs[0]


def _to_audio(layers: WhisperLayers, query: str, number: int) -> str:
    """In products, because MultiHeadAttention reads keys at half the speed for a single token."""
    layer, size = f"decoder.{number}", layers.shape.d_model // layers.shape.decoder_attention_heads
    scale = layers.constant(f"{layer}.cross_scale", np.array(size**-0.5, np.float32))
    scaled = layers.node("Mul", [query, scale], f"{layer}.cross_scaled")
    by_heads = layers.node("Reshape", [scaled, "by_heads"], f"{layer}.cross_split")
    asked = layers.node("Transpose", [by_heads], f"{layer}.cross_asked", perm=[0, 2, 1, 3])
    scores = layers.node("MatMul", [asked, f"cross_key.{number}"], f"{layer}.cross_scores")
    shares = layers.node("Softmax", [scores], f"{layer}.cross_shares", axis=-1)
    found = layers.node("MatMul", [shares, f"cross_value.{number}"], f"{layer}.cross_found")
    tokens = layers.node("Transpose", [found], f"{layer}.cross_tokens", perm=[0, 2, 1, 3])
    return layers.node("Reshape", [tokens, "joined"], f"{layer}.cross_attended")


def _model(layers: WhisperLayers) -> onnx.ModelProto:
    shape = layers.shape
    heads = shape.decoder_attention_heads
    size = shape.d_model // heads
    info = helper.make_tensor_value_info
    inputs = [
        *(info(name, TensorProto.INT64, ["batch", "new"]) for name in ("input_ids", "positions")),
        info("seqlens_k", TensorProto.INT32, ["batch"]),
        info("total_sequence_length", TensorProto.INT32, []),
        info("wanted", TensorProto.INT64, ["wanted"]),
    ]
    outputs = [info("logits", TensorProto.FLOAT, ["wanted", shape.vocab_size])]
    row: list[str | int | None] = ["batch", heads, "capacity", size]
    audio: dict[str, list[str | int | None]] = {
        "key": ["batch", heads, size, AUDIO_POSITIONS],
        "value": ["batch", heads, AUDIO_POSITIONS, size],
    }
    query: list[str | int | None] = ["batch", "new", shape.d_model]
    for number in range(shape.decoder_layers):
        outputs.append(info(f"cross_query.{number}", TensorProto.FLOAT, query))
        for kind in ("key", "value"):
            inputs.append(info(f"past_{kind}.{number}", TensorProto.FLOAT, row))
            inputs.append(info(f"cross_{kind}.{number}", TensorProto.FLOAT, audio[kind]))
            outputs.append(info(f"present_{kind}.{number}", TensorProto.FLOAT, row))
    return layers.model("text_decoder", inputs, outputs)
