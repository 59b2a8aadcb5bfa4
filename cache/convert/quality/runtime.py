"""Runs a converted decoder as it is on the disk, for the measurements of an import.

The service does not run this graph: the worker rewrites it first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnxruntime

from cupola.cache.convert.formats.unsigned_weights import for_this_processor
from cupola.cache.errors import BrokenFileError, UnsupportedError


class Sizes(Protocol):
    """What the inputs of a decoder depend on. A DecoderShape has it."""

    @property
    def layers(self) -> int: ...

    @property
    def kv_heads(self) -> int: ...

    @property
    def head_size(self) -> int: ...

    @property
    def context_length(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RunShape:
    """The sizes of a decoder of which no more is known."""

    layers: int
    kv_heads: int
    head_size: int
    context_length: int


Session: TypeAlias = onnxruntime.InferenceSession
Feed = dict[str, np.ndarray[Any, Any]]


def open_session(model: bytes, folder: Path) -> Session:
    """Opens ``model`` with the weights in ``folder``.

    Raises UnsupportedError for a model that ONNX Runtime cannot run.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    try:
        return Session(for_this_processor(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common base of their own
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error


def run(session: Session, outputs: list[str], feed: Feed) -> list[np.ndarray[Any, Any]]:
    """The values of ``outputs``.

    Raises UnsupportedError for a model that does not run, BrokenFileError for one whose values are
    not finite.
    """
    try:
        found = list(session.run(outputs, feed))
    except Exception as error:  # as above
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error
    if not all(np.isfinite(values).all() for values in found):
        raise BrokenFileError("The model computes values that are not finite: damaged weights?")
    return found


def decoder_feed(ids: list[int], shape: Sizes, rows: int = 1, past: int = 0) -> Feed:
    """The inputs of ``rows`` sequences that each read ``ids``.

    ``past``: the number of tokens in the cache, whose keys and values are zeros.
    """
    cache = np.zeros((rows, shape.kv_heads, past, shape.head_size), np.float32)
    feed: Feed = {
        "input_ids": np.array([ids] * rows, np.int64),
        "attention_mask": np.ones((rows, past + len(ids)), np.int64),
    }
    for layer in range(shape.layers):
        feed[f"past_key_values.{layer}.key"] = cache
        feed[f"past_key_values.{layer}.value"] = cache
    return feed
