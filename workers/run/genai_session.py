"""onnxruntime-genai behind the engine: for models whose graph cannot be rewritten.

Each slot has a generator, and they run one after the other. So sequences share no runs. Everything
else of the engine works, because the engine selects the tokens itself. Only this file imports
``og``.

The session remembers what each generator has read. It reads everything again when a generator
cannot go on: it was cut back further than it remembers, it has become too small, or its graph reads
several tokens at the beginning only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime_genai as og
from numpy.typing import NDArray

from cupola.scheduler.protocol.status import Serving
from cupola.workers.device.device import CPU, Device
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from cupola.workers.run.packing import Row

# Tokens that a new generator has room for. Some generators take all of that memory at once.
MIN_ROOM = 512


@dataclass(slots=True)
class Reader:
    """A slot: its generator, and all tokens of its sequence."""

    generator: og.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    room: int = 0  # tokens that the generator may have


class Readers(KVStore):
    """The slots as a store of keys and values. They can be cut and forgotten, but not copied."""

    def __init__(self, slots: int, bytes_per_token: int) -> None:
        self.bytes_per_token = bytes_per_token
        self.all = [Reader() for _ in range(slots)]

    def forget(self, row: int) -> None:
        self.all[row] = Reader()


class GenaiSession:
    """See ``session.Session``."""

    copy_limit = sys.maxsize  # each row is a run of its own
    built = True
    parallel_prompts = 1
    short_context = 0  # og itself begins again where it must

    def __init__(
        self,
        folder: ModelFolder,
        *,
        slots: int,
        threads: int = 0,
        device: Device = CPU,
        why: str = "",
    ) -> None:
        """``threads``: 0 lets the runtime decide. ``why``: why the batching engine is not used.

        Raises ModelFolderError.
        """
        self.serving = Serving("onnxruntime-genai", why, reproducible=False)
        self._folder, self._threads, self._device = folder, threads, device
        self._model = self._open()
        self.slots = slots
        self.seconds = 0.0
        self.cache = Readers(slots, folder.cache_bytes_per_token)
        self.vocabulary = self._width()
        self._reads_on = self._can_read_on()
        # Draft tokens that are wrong must be cut off.
        self.verifies_drafts = self._reads_on and not folder.window

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """The wanted logits ``[R, vocabulary]``, in order of ``rows``."""
        began = time.perf_counter()
        parts = [logits for row in rows if (logits := self._advance(row)) is not None]
        self.seconds = time.perf_counter() - began
        return np.concatenate(parts) if parts else np.empty((0, self.vocabulary), np.float32)

    def rebuild(self) -> None:
        """See ``Session.rebuild``."""
        for slot in range(self.slots):
            self.cache.forget(slot)
        del self._model  # first: there may be no memory for two
        self._model = self._open()

    # ----------------------------------------------------------------------------------------------

    def _advance(self, row: Row) -> NDArray[np.float32] | None:
        """Read a row's tokens. Returns the wanted logits, or None if none are wanted."""
        reader = self.cache.all[row.slot]
        reader.tokens[row.past :] = row.tokens
        if not self._reads_on and not row.logits:
            return None  # this chunk is read together with the last one
        generator, unread = self._ready(reader, row.past)
        generator.append_tokens(unread)
        if row.logits == 0:
            return None
        whole = row.logits > 1
        logits = generator.get_output("logits") if whole else generator.get_logits()
        wanted: NDArray[np.float32] = logits[0, -row.logits :].astype(np.float32)
        return wanted

    def _ready(self, reader: Reader, past: int) -> tuple[og.Generator, list[int]]:
        """A generator that has read a beginning of the tokens, and the tokens that are left."""
        known = _cut(reader.generator, past) if reader.generator is not None and past else 0
        goes_on = self._reads_on or len(reader.tokens) - known == 1
        if reader.generator is None or not known or not goes_on or len(reader.tokens) > reader.room:
            known = 0
            reader.generator = None  # first: there may be no memory for two
            reader.room = self._room(2 * len(reader.tokens))
            reader.generator = self._generator(reader.room)
        return reader.generator, reader.tokens[known:]

    def _room(self, tokens: int) -> int:
        """How many tokens a generator should have room for."""
        room = min(self._folder.context, max(MIN_ROOM, tokens))
        return max(room, self._folder.window)

    def _generator(self, room: int) -> og.Generator:
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=room, do_sample=False)
        return og.Generator(self._model, params)

    def _open(self) -> og.Model:
        # The errors say what is wrong. The log would only repeat it for every attempt.
        options: dict[str, int] = {"log_severity_level": 4}
        if self._threads:
            options["intra_op_num_threads"] = self._threads
        try:
            config = og.Config(str(self._folder.path))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            if self._device.index:
                name = str(self._device.provider)
                config.set_provider_option(name, "device_id", str(self._device.index))
            return og.Model(config)
        except Exception as error:  # og's errors have no tree
            raise ModelFolderError(f"onnxruntime-genai refuses the model: {error}") from error

    def _width(self) -> int:
        """The width of the logits. No file is sure to have it."""
        generator = self._generator(self._room(0))
        generator.append_tokens([0])
        return int(generator.get_logits().shape[-1])

    def _can_read_on(self) -> bool:
        """Whether the graph takes several tokens behind others, as chunks of prompts need it."""
        generator = self._generator(self._room(0))
        try:
            generator.append_tokens([0])
            generator.append_tokens([0, 0])
            return int(generator.get_output("logits").shape[1]) == 2
        except Exception:  # og's errors have no tree
            return False


def _cut(generator: og.Generator, length: int) -> int:
    """Cut what a generator has read. Returns how much it remembers then; 0: it cannot be cut."""
    known = int(generator.token_count())
    if known <= length:
        return known
    try:
        generator.rewind_to(length)
    except Exception:  # it has a sliding window, and what lay before that is gone
        return 0
    return length
