"""Records what a decoder's projections read, by running it over a text of many kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tokenizers import Tokenizer

from cupola.cache.convert.quality.runtime import Advance, Run, decoder_feed, run_all
from cupola.cache.convert.quantization.layer_inputs import LayerInputs
from cupola.cache.convert.weights.decoder_shape import DecoderShape

_MAX_TOKENS = 1024
_TOKEN_AXIS = "calibration.axis"
# The projections whose inputs are the fields of LayerInputs, in the same order.
_OBSERVED = ("attn/qkv_proj", "attn/o_proj", "mlp/up_proj", "mlp/down_proj")

# Prose, dialogue, code, lists, numbers and other languages: every channel must be excited about as
# much as it will be in use.
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


def calibration_ids(tokenizer: str, most: int) -> list[int]:
    """The calibration text as tokens, cut after ``most``.

    ``tokenizer`` is the content of tokenizer.json.
    """
    return list(Tokenizer.from_str(tokenizer).encode(_TEXT).ids[:most])


def observe(
    model: onnx.ModelProto,
    folder: Path,
    shape: DecoderShape,
    tokenizer: dict[str, Any],
    *,
    peaks: bool = False,
    advance: Advance = lambda share: None,
) -> list[LayerInputs]:
    """Runs ``model``, whose weights are in ``folder``, over the calibration text.

    ``tokenizer`` is the content of tokenizer.json. ``peaks``: of all tokens only the largest
    magnitudes are kept, as one token; for the others a large model takes gigabytes. ``advance``:
    see ``run_all``. Returns one LayerInputs a layer. Raises UnsupportedError or BrokenFileError for
    a model that does not run.
    """
    ids = calibration_ids(json.dumps(tokenizer), min(_MAX_TOKENS, shape.context_length))
    observed = _with_peaks(model) if peaks else _inputs(model)
    names = [observed[f"/model/layers.{n}/{at}"] for n in range(shape.layers) for at in _OBSERVED]
    run = Run(decoder_feed(ids, shape), tuple(names))
    run_all(model, folder, [run], advance=advance)
    found = [run.values[name] for name in names]
    step = len(_OBSERVED)
    by_layer = (found[start : start + step] for start in range(0, len(found), step))
    return [LayerInputs(*(inputs[0] for inputs in layer)) for layer in by_layer]


def _inputs(model: onnx.ModelProto) -> dict[str, str]:
    """What each projection reads."""
    return {
        node.name.rpartition("/")[0]: node.input[0]
        for node in model.graph.node
        if node.op_type.startswith("MatMul")
    }


def _with_peaks(model: onnx.ModelProto) -> dict[str, str]:
    """Adds the largest magnitude of each channel of what the projections read.

    Returns the names of these values ``[1, 1, channels]`` by those of the projections.
    """
    inputs = _inputs(model)
    read = set(inputs.values())
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        for name in read.intersection(node.output):
            nodes.append(helper.make_node("Abs", [name], [f"{name}/size"]))
            reduced = [f"{name}/size", _TOKEN_AXIS]
            nodes.append(helper.make_node("ReduceMax", reduced, [f"{name}/peak"], keepdims=1))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), _TOKEN_AXIS))
    return {projection: f"{name}/peak" for projection, name in inputs.items()}
