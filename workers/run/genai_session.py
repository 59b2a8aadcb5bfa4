"""onnxruntime-genai behind the engine: for models whose graph cannot be rewritten.

One generator a slot, run one after the other: no batching across sequences, but everything else of
the engine works, because it draws the tokens itself. ``og`` is imported here and nowhere else.

A generator knows what it has read; the session knows it, too, and so can give it all of it again
where the generator cannot go on: it was cut back further than it remembers, it has become too
small, or its graph reads several tokens at the beginning only.
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

from cupola.scheduler.protocol.messages import Serving
from cupola.workers.device.device import CPU, Device
from cupola.workers.kv.kv_store import Rows
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from cupola.workers.run.packing import Row

og.disable_telemetry_events()

# Room of a new generator: some take the memory for all of it at once.
_LEAST_ROOM = 512


@dataclass(slots=True)
class Reader:
    """One slot: its generator, and all tokens that its sequence has."""

    generator: og.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    room: int = 0  # tokens that the generator may have


class Readers(Rows):
    """The slots as the cache that they are: they can be cut and forgotten, not copied."""

    def __init__(self, slots: int, bytes_per_token: int) -> None:
        self.bytes_per_token = bytes_per_token
        self.all = [Reader() for _ in range(slots)]

    def forget(self, row: int) -> None:
        self.all[row] = Reader()


class GenaiSession:
    """See ``session.DecoderSession``."""

    copied = sys.maxsize  # each row is a run of its own
    abreast = 1
    short_context = 0  # og itself begins anew where it must

    def __init__(
        self,
        folder: ModelFolder,
        *,
        slots: int,
        threads: int = 0,
        device: Device = CPU,
        why: str = "",
    ) -> None:
        """``threads``: 0: the runtime decides. ``why``: what is against the batching engine.

        Raises ModelFolderError.
        """
        self.serving = Serving("onnxruntime-genai", why)
        self._folder, self._threads, self._device = folder, threads, device
        self._model = self._open()
        self.slots = slots
        self.seconds = 0.0
        self.cache = Readers(slots, folder.cache_bytes_per_token)
        self.vocabulary = self._width()
        self._reads_on = self._can_read_on()
        self.verifies = self._reads_on and not folder.window  # wrong guesses must be cut off

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Logits ``[R, vocabulary]`` of the tokens that are wanted, in order of ``rows``."""
        began = time.perf_counter()
        made = [logits for row in rows if (logits := self._advance(row)) is not None]
        self.seconds = time.perf_counter() - began
        return np.concatenate(made) if made else np.empty((0, self.vocabulary), np.float32)

    def rebuild(self) -> None:
        for slot in range(self.slots):
            self.cache.forget(slot)
        del self._model  # first: there may be no memory for two
        self._model = self._open()

    # ----------------------------------------------------------------------------------------------

    def _advance(self, row: Row) -> NDArray[np.float32] | None:
        """Read a row's tokens; logits of the last of them, None where none are wanted."""
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
        """A generator that has read a beginning of the tokens, and the others."""
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
        room = min(self._folder.context, max(_LEAST_ROOM, tokens))
        return max(room, self._folder.window)

    def _generator(self, room: int) -> og.Generator:
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=room, do_sample=False)
        return og.Generator(self._model, params)

    def _open(self) -> og.Model:
        # What the runtime has to say is in its errors: its log would tell of our attempts.
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
        """The width of the logits, which no file is sure to tell."""
        generator = self._generator(self._room(0))
        generator.append_tokens([0])
        return int(generator.get_logits().shape[-1])

    def _can_read_on(self) -> bool:
        """Whether the graph takes several tokens behind others, as chunks of prompts are."""
        generator = self._generator(self._room(0))
        try:
            generator.append_tokens([0])
            generator.append_tokens([0, 0])
            return int(generator.get_output("logits").shape[1]) == 2
        except Exception:  # og's errors have no tree
            return False


def _cut(generator: og.Generator, length: int) -> int:
    """Cut what a generator has read; tells how much it knows then: 0, where it cannot be cut."""
    known = int(generator.token_count())
    if known <= length:
        return known
    try:
        generator.rewind_to(length)
    except Exception:  # it has windows, and what lay before them is gone
        return 0
    return length
