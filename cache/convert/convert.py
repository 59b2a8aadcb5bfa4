"""GGUF or safetensors to a model folder, without torch."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from msgspec.structs import replace

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.weights_file import WeightsFile
from cupola.cache.convert.graph.decoder_graph import decoder_graph
from cupola.cache.convert.graph.initializers import Initializers, StoredWeights
from cupola.cache.convert.model_files import (
    genai_config,
    inference_model,
    write_bytes,
    write_json,
)
from cupola.cache.convert.quantization.few_token_weights import FewTokenWeights
from cupola.cache.convert.quantization.four_bit_weights import FourBitWeights
from cupola.cache.convert.quantization.integer_weights import IntegerWeights
from cupola.cache.convert.quantization.layer_inputs import LayerInputs
from cupola.cache.convert.quantization.rotated_weights import RotatedWeights
from cupola.cache.convert.quantization.smoothquant import SmoothedWeights
from cupola.cache.convert.sources import Source, open_source
from cupola.cache.convert.weight_kinds import weight_kinds
from cupola.cache.convert.weights.decoder_weights import DecoderWeights
from cupola.cache.model_config import FEW_TOKEN_GRAPH, MAIN_GRAPH
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.quality import MAX_COMPARED_BYTES, QUALITY_FILE


def convert(
    path: Path,
    target: Path,
    variant: ModelVariant,
    *,
    precision: Precision = Precision.INT8,
    source_sha256: str = "",
    adapter: Path | None = None,
    progress: Progress = silent,
    max_compared_bytes: int = MAX_COMPARED_BYTES,
) -> None:
    """Writes the model folder ``target``, which must not exist.

    ``path``: a GGUF file, or the config.json of a folder with safetensors.

    ``inference_model.json`` is written last, when everything else is on the disk. A folder without
    it is not a model. Peak memory is 0.6 GB for 1.1 billion parameters in 8 bits, beside mapped
    pages.
    ``adapter``: the folder of a LoRA that is merged into the weights before they are rounded.
    ``max_compared_bytes``: the size in float32 up to which a rounded model is compared with itself
    in float32. Raises ModelFileError for a file that cannot be converted, OSError for a full disk.
    """
    source = open_source(path, adapter)
    tokenizer, weights = source.tokenizer, source.weights
    target.mkdir(parents=True)
    conversion = _Conversion(source, target, progress)
    if precision.is_float:
        conversion.write(weights, precision)
    else:
        conversion.write_rounded(precision, max_compared_bytes)
    if tokenizer.chat_template:
        write_bytes(target / "chat_template.jinja", tokenizer.chat_template.encode())
    config = genai_config(source.family.genai_type, weights.shape, tokenizer, variant.parameters)
    write_json(target / "tokenizer.json", tokenizer.tokenizer_json())
    write_json(target / "tokenizer_config.json", tokenizer.tokenizer_config())
    write_json(target / "genai_config.json", config)
    write_json(
        target / "inference_model.json",
        inference_model(variant, tokenizer.chat_template, source_sha256),
    )


class _Conversion:
    """The writing of one graph. It may take two passes over the weights."""

    def __init__(self, source: Source, target: Path, progress: Progress) -> None:
        self._blocks = source.family.blocks
        self._weights = source.weights
        self._coded = source.coded
        self._tokenizer_json = source.tokenizer.tokenizer_json()
        self._target = target
        self._progress = progress
        self._stored: list[StoredWeights] = []  # of the last graph
        self._done = 0
        self._total = source.weights.stored_bytes

    def write(
        self, weights: DecoderWeights, precision: Precision, file: str = MAIN_GRAPH
    ) -> onnx.ModelProto:
        """Writes the graph ``file`` and its data. ``weights``: the source's, perhaps changed.

        Raises UnsupportedError when the source has tensors that the graph does not use.
        """
        with WeightsFile(self._target / f"{file}.data") as data:
            large = file == FEW_TOKEN_GRAPH
            stored = Initializers(data, precision, self._advance, large_blocks=large)
            model = decoder_graph(self._blocks, weights, stored)
        self._stored = stored.matrices
        self._weights.refuse_unread()
        write_bytes(self._target / file, model.SerializeToString())
        return model

    def write_rounded(self, precision: Precision, max_compared_bytes: int) -> None:
        """Writes a first graph to measure the activations, then the graph that stays.

        The first graph is in float32, so that the second can be compared with it, and takes up to
        eight times the space. There is no comparison of a large model: its first graph is rounded
        as well, to 8 bits where products are of integers, and four bits do without one if they are
        those of the file. Beside integer products, four bits of the file stay in a graph for few
        tokens.
        """
        from cupola.cache.convert.quality.evaluator import Evaluator

        plain, integers = self._weights, precision is Precision.W8A8
        as_stored = precision is Precision.INT4 and self._coded
        exact = plain.float_bytes <= max_compared_bytes
        evens = not as_stored and (exact or precision is not Precision.INT4)
        # To run the model counts as much as to write it.
        self._total += plain.stored_bytes * (1 + exact + evens + (integers and self._coded))
        first = None
        if exact or precision is not Precision.INT4:
            self._total += plain.stored_bytes
            if integers and plain.tied:  # the head is stored beside the embedding
                self._total += plain.embedding().stored_bytes
            rounded = Precision.INT8 if integers else precision
            first = self.write(
                RotatedWeights(plain) if integers else plain, Precision.FP32 if exact else rounded
            )
        evaluator = Evaluator(
            self._target, plain.shape, self._tokenizer_json, advance=self._advance_by_share
        )
        if exact:
            evaluator.remember_exact()
        weights: DecoderWeights = plain
        few_tokens: DecoderWeights | None = None
        if first is not None and not as_stored:
            inputs = self._observe(precision, first)
            weights = smoothed = SmoothedWeights(plain, inputs)
            if integers:
                weights = IntegerWeights(RotatedWeights(smoothed), inputs)
                if self._coded:
                    few_tokens = FewTokenWeights(plain, IntegerWeights(smoothed, inputs))
        if precision is Precision.INT4 and not as_stored:
            weights = FourBitWeights(weights)
        self.write(weights, precision)
        kinds = weight_kinds(self._stored)
        if few_tokens is not None:
            self.write(few_tokens, Precision.INT4, FEW_TOKEN_GRAPH)
        quality = replace(evaluator.measure(), weights=kinds)
        write_bytes(self._target / QUALITY_FILE, quality.encoded())

    def _observe(self, precision: Precision, first: onnx.ModelProto) -> list[LayerInputs]:
        """Runs ``first`` to see the activations."""
        from cupola.cache.convert.quantization.calibration import observe

        # Smoothing wants the peaks; products of integers are rounded for all that was read.
        return observe(
            first,
            self._target,
            self._weights.shape,
            self._tokenizer_json,
            peaks=precision is not Precision.W8A8,
            advance=self._advance_by_share,
        )

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress("convert", min(self._done, self._total), self._total)

    def _advance_by_share(self, share: float) -> None:
        """Of a run of the model."""
        self._advance(math.ceil(share * self._weights.stored_bytes))
