"""Runs a converted decoder as it is on the disk, for the measurements of an import.

The service does not run this graph: the worker rewrites it first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from cupola.cache.convert.formats.unsigned_weights import for_this_processor
from cupola.cache.convert.quality.parts import Part, cut
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
Values = dict[str, np.ndarray[Any, Any]]
Advance = Callable[[float], None]

# Of weights in a part of a model: a session has them once more, in another order.
_PART_BYTES = 192 << 20


@dataclass(slots=True)
class Run:
    """A run of a model. ``values``: its inputs, and in the end what was wanted."""

    values: Values
    wanted: tuple[str, ...]
    steps: int = 0  # how many times each part is run once more, to measure it
    seconds: float = 0.0  # of one of these steps


def run_all(
    model: onnx.ModelProto,
    folder: Path,
    runs: Sequence[Run],
    part_bytes: int = _PART_BYTES,
    advance: Advance = lambda share: None,
) -> None:
    """Does ``runs`` side by side, part after part of the model, whose weights are in ``folder``.

    ``advance`` is called behind each part with its share of the work. The shares are 1 together.
    Raises UnsupportedError for a model that does not run, BrokenFileError for one whose values are
    not finite.
    """
    wanted = {name for each in runs for name in each.wanted}
    parts = cut(model, wanted, part_bytes)
    for number, part in enumerate(parts):
        types = {
            name: (helper.np_dtype_to_tensor_dtype(value.dtype), value.ndim)
            for name, value in runs[0].values.items()
        }
        session = open_session(part.model(model, types).SerializeToString(), folder)
        later = wanted.union(*(each.reads for each in parts[number + 1 :]))
        for each in runs:
            _run_part(session, part, each)
            for name in each.values.keys() - later:
                del each.values[name]
        del session  # before the next one is opened
        advance(1 / len(parts))


def _run_part(session: Session, part: Part, run: Run) -> None:
    feed = {name: run.values[name] for name in part.reads}
    try:
        # Copies, because what a session returns keeps all the memory that it has reserved.
        found = [value.copy() for value in session.run(part.makes, feed)]
        times = []
        for _ in range(run.steps):
            started = time.perf_counter()
            session.run(part.makes, feed)
            times.append(time.perf_counter() - started)
    except Exception as error:  # the runtime's errors have no common base of their own
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error
    made = dict(zip(part.makes, found, strict=True))
    if not all(np.isfinite(made[name]).all() for name in made.keys() & {*run.wanted}):
        raise BrokenFileError("The model computes values that are not finite: damaged weights?")
    run.values |= made
    run.seconds += statistics.median(times) if times else 0.0


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
    except Exception as error:  # as above
        raise UnsupportedError(f"ONNX Runtime cannot run the converted model: {error}") from error


def decoder_feed(ids: list[int], shape: Sizes, rows: int = 1, past: int = 0) -> Values:
    """The inputs of ``rows`` sequences that each read ``ids``.

    ``past``: the number of tokens in the cache, whose keys and values are zeros.
    """
    cache = np.zeros((rows, shape.kv_heads, past, shape.head_size), np.float32)
    feed: Values = {
        "input_ids": np.array([ids] * rows, np.int64),
        "attention_mask": np.ones((rows, past + len(ids)), np.int64),
    }
    for layer in range(shape.layers):
        feed[f"past_key_values.{layer}.key"] = cache
        feed[f"past_key_values.{layer}.value"] = cache
    return feed
