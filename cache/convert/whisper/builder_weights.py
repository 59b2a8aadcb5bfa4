"""A Whisper's weights in the two graphs that onnxruntime-genai's builder makes of it."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np

from cupola.cache.convert.formats.onnx_check import check_graphs
from cupola.cache.convert.formats.onnx_weights import OnnxWeights
from cupola.cache.convert.whisper.whisper_shape import WhisperShape
from cupola.cache.convert.whisper.whisper_weights import Values, places, sizes
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.model_config import GENAI_CONFIG, decode_json
from cupola.cache.system.confined_names import leads_out

_PRODUCTS = {
    "out": ("attn/o_proj",),
    "cross_q": ("cross_attn/q_proj",),
    "cross_kv": ("attn/cross/k_proj", "attn/cross/v_proj"),  # in the encoder's graph
    "cross_out": ("cross_attn/o_proj",),
    "fc1": ("mlp/fc1",),
    "fc2": ("mlp/fc2",),
}
_SEPARATE = ("attn/q_proj", "attn/k_proj", "attn/v_proj")
_NORMS = {
    "encoder": {"norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "decoder": {
        "norm": "self_attn_layernorm",
        "cross_norm": "cross_attn_layernorm",
        "mlp_norm": "post_attention_layernorm",
    },
}
_OF_ANOTHER_MAKER = (
    "The Whisper's graphs are not as onnxruntime-genai's builder makes them. Take the model as it "
    "was published, with model.safetensors or as CTranslate2's folder, and import that"
)
_FIRST = "/model/preprocessing"


class _Stack(msgspec.Struct):
    filename: str
    num_attention_heads: int


class _Model(msgspec.Struct):
    encoder: _Stack
    decoder: _Stack


class _Config(msgspec.Struct):
    model: _Model


class BuilderWeights:
    """Those of the folder of a ``genai_config.json``. Codes of few bits become floats."""

    def __init__(self, folder: Path) -> None:
        try:
            model = decode_json(folder / GENAI_CONFIG, _Config).model
        except ValueError as error:
            raise BrokenFileError(str(error)) from None
        files = [_graph_file(folder, each) for each in (model.encoder, model.decoder)]
        check_graphs(folder)
        self._graphs = dict(zip(("encoder", "decoder"), map(OnnxWeights, files), strict=True))
        encoder, decoder = self._graphs.values()
        if not (encoder.has("/model/layers.0/mlp/fc1") and decoder.has("/lm_head")):
            raise UnsupportedError(_OF_ANOTHER_MAKER)
        width, bins, _ = (*encoder.shape("encoder.conv1.weight"), 0, 0)[:3]
        self.shape = WhisperShape(
            vocab_size=len(self._head()),
            num_mel_bins=bins,
            d_model=width,
            encoder_layers=self._layers("encoder"),
            encoder_attention_heads=model.encoder.num_attention_heads,
            encoder_ffn_dim=math.prod(encoder.shape("model.layers.0.mlp.fc1.Add.bias")),
            decoder_layers=self._layers("decoder"),
            decoder_attention_heads=model.decoder.num_attention_heads,
            decoder_ffn_dim=math.prod(decoder.shape("model.layers.0.mlp.fc1.Add.bias")),
            max_target_positions=decoder.shape("decoder.embed_positions.weight")[0],
            max_source_positions=encoder.shape("encoder.embed_positions.weight")[0],
        )
        self.shape.check()

    def product(self, layer: str, part: str) -> tuple[Values, Values]:
        stack, _, number = layer.partition(".")
        graph = self._graphs["encoder" if part == "cross_kv" else stack]
        at = f"/model/layers.{number}"
        rows, columns = sizes(self.shape, layer, part)
        if part == "qkv" and graph.has(f"{at}/attn", "Attention"):
            inputs = [*graph.node(f"{at}/attn", "Attention").input, "", "", ""]
            weight, bias = graph.floats(inputs[1]).T, graph.floats(inputs[2])
            name = f"{at}/attn/Attention"
            return _of_shape(weight, name, rows, columns), _of_shape(bias, name, rows)
        names = [f"{at}/{name}" for name in _PRODUCTS.get(part, _SEPARATE)]
        each = rows // len(names)
        weights, biases = [], []
        for name in names:
            weights.append(_of_shape(graph.product(name), name, each, columns))
            found = graph.bias(name)  # keys have none
            shift = np.zeros(each, np.float32) if found is None else found
            biases.append(_of_shape(shift, name, each))
        return np.concatenate(weights), np.concatenate(biases)

    def norm(self, layer: str, part: str = "") -> tuple[Values, Values]:
        stack, _, number = layer.partition(".")
        if part:
            at = f"model.layers.{number}.{_NORMS[stack][part]}"
        else:
            count = getattr(self.shape, f"{stack}_layers")
            at = f"model.layers.{count}.final_norm_layernorm"
        width = self.shape.d_model
        scale, shift = (self._named(stack, f"{at}.{end}", width) for end in ("weight", "bias"))
        return scale, shift

    def convolution(self, number: int) -> tuple[Values, Values]:
        width = self.shape.d_model
        channels = self.shape.num_mel_bins if number == 1 else width
        kernel = self._named("encoder", f"encoder.conv{number}.weight", width, channels, 3)
        return kernel, self._named("encoder", f"encoder.conv{number}.bias", width)

    def positions(self, stack: str) -> Values:
        return self._named(stack, f"{stack}.embed_positions.weight", *places(self, stack))

    def tokens(self) -> Values:
        found = self._graphs["decoder"].table(_FIRST, "input_ids")
        return _of_shape(found, "the table of tokens", self.shape.vocab_size, self.shape.d_model)

    def head(self) -> Values:
        """May be rounded in another way than the table of the tokens."""
        return _of_shape(self._head(), "lm_head", self.shape.vocab_size, self.shape.d_model)

    def _head(self) -> Values:
        return self._graphs["decoder"].product("/lm_head")

    def _named(self, stack: str, name: str, *shape: int) -> Values:
        return _of_shape(self._graphs[stack].floats(name), name, *shape)

    def _layers(self, stack: str) -> int:
        count = 0
        while self._graphs[stack].has(f"/model/layers.{count}/mlp/fc1"):
            count += 1
        return count


def _graph_file(folder: Path, stack: _Stack) -> Path:
    if leads_out(stack.filename):
        text = f"{GENAI_CONFIG} names '{stack.filename}', which is no file beside it"
        raise BrokenFileError(text)
    return folder / stack.filename


def _of_shape(values: Values, name: str, *shape: int) -> Values:
    if values.shape != shape:
        raise BrokenFileError(f"The graphs have {name} as {values.shape}, not {shape}")
    return values
