"""Sees how large a decoder's activations get, by running it over a text of many kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from cupola.cache.architecture import DecoderShape
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.smoothing import LayerRanges

_MAX_TOKENS = 1024
# The fields of LayerRanges, and the projections whose inputs they are about.
_TAPPED = {
    "qkv": "attn/qkv_proj",
    "output": "attn/o_proj",
    "mlp": "mlp/up_proj",
    "down": "mlp/down_proj",
}

# Prose, dialogue, code, lists, numbers and other languages: what matters is that every channel is
# excited about as much as it will be in use.
_TEXT = """\
The first thing that a visitor notices is the light. In 1907 the town had three mills, two churches
and a railway station; today it has 41,250 inhabitants and a university. "Why did you come back?"
she asked. He shrugged and said that he couldn't explain it, not even to himself.

def area(shape):
    if shape["kind"] == "circle":
        return 3.14159 * shape["radius"] ** 2  # close enough
    return shape["width"] * shape["height"]

Water boils at 100 degrees Celsius at sea level. To convert to Fahrenheit, multiply by 9, divide by
5 and add 32. La ville est connue pour son marché aux fleurs, und im Winter liegt dort oft Schnee.

1. Wash the rice until the water runs clear.
2. Add salt, butter and twice as much water.
3. Cook it slowly for 18 minutes, and do not stir!

SELECT name, price FROM products WHERE price < 20 ORDER BY name;
{"id": 7, "tags": ["new", "sale"], "ok": true}

| planet  | moons | day (hours) |
|---------|-------|-------------|
| Earth   | 1     | 24          |
| Jupiter | 95    | 9.9         |

Dear Ms. Okafor,

Thank you for your letter of 12 May. I'm afraid we can't repair the clock before June, because the
parts have to come from Switzerland; would you like us to lend you another one until then?

Yours sincerely, T. Lindqvist

Let x be a real number with x² + 2x = 15. Then (x + 1)² = 16, so x = 3 or x = -5. Q.E.D.
"""


def measure(
    model: onnx.ModelProto, folder: Path, shape: DecoderShape, tokenizer: dict[str, Any]
) -> list[LayerRanges]:
    """Runs ``model``, whose weights are in ``folder``, over the calibration text.

    ``tokenizer`` is the content of tokenizer.json. Returns one LayerRanges a layer. Raises
    UnsupportedError or BrokenFileError for a model that does not run.
    """
    ids = Tokenizer.from_str(json.dumps(tokenizer)).encode(_TEXT).ids
    ids = ids[: min(_MAX_TOKENS, shape.context_length)]
    names = _add_taps(model, shape.layers)
    session = open_session(model.SerializeToString(), folder)
    try:
        found = session.run(names, decoder_feed(ids, shape))
    except Exception as error:  # the runtime's errors have no common base of their own
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error
    peaks = dict(zip(names, found, strict=True))
    if not all(np.isfinite(peak).all() for peak in found):
        raise BrokenFileError("The model computes values that are not finite: damaged weights?")
    return [
        LayerRanges(**{field: peaks[_tap(layer, field)] for field in _TAPPED})
        for layer in range(shape.layers)
    ]


def open_session(model: bytes, folder: Path) -> onnxruntime.InferenceSession:
    """``model`` with the weights in ``folder``. Raises UnsupportedError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common base of their own
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error


def decoder_feed(ids: list[int], shape: DecoderShape) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs for one sequence without a past."""
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float32)
    feed: dict[str, np.ndarray[Any, Any]] = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, len(ids)), np.int64),
    }
    for layer in range(shape.layers):
        feed[f"past_key_values.{layer}.key"] = empty
        feed[f"past_key_values.{layer}.value"] = empty
    return feed


def _tap(layer: int, field: str) -> str:
    return f"calibration.{layer}.{field}"


def _add_taps(model: onnx.ModelProto, layers: int) -> list[str]:
    """Makes the largest magnitude of each projection's input an output of the graph."""
    graph = model.graph
    inputs = {
        node.name.rpartition("/")[0]: node.input[0]
        for node in graph.node
        if node.op_type.startswith("MatMul")
    }
    axes = "calibration.axes"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1], np.int64), axes))
    names = []
    del graph.output[:]  # what only the logits need is then left out of the run
    for layer in range(layers):
        for field, projection in _TAPPED.items():
            tapped, name = inputs[f"/model/layers.{layer}/{projection}"], _tap(layer, field)
            graph.node.append(helper.make_node("Abs", [tapped], [f"{name}.abs"]))
            graph.node.append(
                helper.make_node("ReduceMax", [f"{name}.abs", axes], [name], keepdims=0)
            )
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
            names.append(name)
    return names
