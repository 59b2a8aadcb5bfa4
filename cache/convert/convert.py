"""GGUF to a model folder, without torch: what ``cupola model import`` and the default model use."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.architecture import DecoderWeights
from cupola.cache.convert.decoder_graph import DecoderGraph
from cupola.cache.convert.gguf_file import GgufFile
from cupola.cache.convert.initializers import Initializers
from cupola.cache.convert.model_files import genai_config, inference_model
from cupola.cache.convert.quantization.integer_weights import IntegerWeights
from cupola.cache.convert.quantization.rotated import RotatedWeights
from cupola.cache.convert.quantization.smoothquant import SmoothedWeights
from cupola.cache.convert.tokenizer_files import TokenizerFiles
from cupola.cache.convert.weights_file import DATA_FILE, WeightsFile
from cupola.cache.figures import MAX_FLOATS, QUALITY_FILE
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent


def convert(
    gguf: Path,
    target: Path,
    variant: ModelVariant,
    *,
    precision: Precision = Precision.INT8,
    source_sha256: str = "",
    progress: Progress = silent,
) -> None:
    """Writes the model folder ``target``, which must not exist, from the file ``gguf``.

    ``inference_model.json``, without which a folder is no model, is written last and everything
    else is on the disk by then. Peak memory is 1.2 GB for 135 M parameters, beside mapped pages.
    Raises ModelFileError for a file that cannot be converted, OSError for a full disk.
    """
    source = GgufFile(gguf)
    weights = DecoderWeights(source)
    tokenizer = TokenizerFiles(source, weights.shape.vocabulary)
    target.mkdir(parents=True)
    work = _Work(weights, tokenizer, target, progress)
    if precision is Precision.FP32:
        work.write(weights, precision)
    else:
        work.write_rounded(precision)
    if tokenizer.chat_template:
        _write(target / "chat_template.jinja", tokenizer.chat_template.encode())
    config = genai_config(
        weights.architecture.genai_type, weights.shape, tokenizer, variant.parameters
    )
    _write_json(target / "tokenizer.json", tokenizer.tokenizer_json())
    _write_json(target / "tokenizer_config.json", tokenizer.tokenizer_config())
    _write_json(target / "genai_config.json", config)
    _write_json(
        target / "inference_model.json",
        inference_model(variant, tokenizer.chat_template, source_sha256),
    )


class _Work:
    """The writing of one graph, which may take two passes over the weights."""

    def __init__(
        self, weights: DecoderWeights, tokenizer: TokenizerFiles, target: Path, progress: Progress
    ) -> None:
        self._weights = weights
        self._tokenizer_json = tokenizer.tokenizer_json()
        self._target = target
        self._progress = progress
        self._done = 0
        self._total = weights.stored_bytes

    def write(self, weights: DecoderWeights, precision: Precision) -> onnx.ModelProto:
        with WeightsFile(self._target / DATA_FILE) as data:
            model = DecoderGraph(weights, Initializers(data, precision, self._advance)).build()
        _write(self._target / "model.onnx", model.SerializeToString())
        return model

    def write_rounded(self, precision: Precision) -> None:
        """A first graph shows where the activations are large, the second makes them less so.

        The first is in float32, up to eight times as large while it is there, so that the second
        can be compared with it. Of large models it is rounded, too: there is no comparison.
        """
        from cupola.cache.convert.quality.quality import Quality
        from cupola.cache.convert.quantization.calibration import observe

        plain, shape, integers = self._weights, self._weights.shape, precision is Precision.W8A8
        self._total *= 2
        if integers and plain.tied:  # the head is stored beside the embedding
            self._total += plain.embedding().stored_bytes
        exact = integers or plain.float_bytes <= MAX_FLOATS
        first = self.write(
            RotatedWeights(plain) if integers else plain, Precision.FP32 if exact else precision
        )
        seen = observe(first, self._target, shape, self._tokenizer_json)
        quality = Quality(self._target, shape, self._tokenizer_json)
        if exact:
            quality.remember()
        smoothed = SmoothedWeights(plain, seen)
        if integers:
            self.write(IntegerWeights(smoothed, seen), precision)
        else:
            self.write(smoothed, precision)
        _write(self._target / QUALITY_FILE, quality.measure().encoded())

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress("convert", self._done, self._total)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write(path, json.dumps(content, ensure_ascii=False, indent=2).encode())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
