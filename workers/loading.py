"""Turns a model's folder into a backend. Imports the runtime only when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cupola.scheduler.messages import LocalModel
from cupola.workers.backend import Backend


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a worker runs its models."""

    backend: str = "onnx"  # or "echo"
    slots: int = 16  # sequences a model runs at once
    step_tokens: int = 256  # token budget of a step
    context: int = 0  # cap on a model's context; 0: the model's own
    threads: int = 1
    kv_bytes: int = 0  # memory for keys and values; 0: half of what is available at the load


def load(
    model: LocalModel, options: EngineOptions, wake: Callable[[], None] = lambda: None
) -> Backend:
    """Load a model; takes seconds. Raises what the files or the runtime have against it.

    The backend calls ``wake``, from another thread, when it has work that it had not before.
    """
    if options.backend == "echo":
        from cupola.workers.echo import EchoBackend

        return EchoBackend()
    from cupola.workers.engine import Engine
    from cupola.workers.machine import available_bytes
    from cupola.workers.model_folder import ModelFolder
    from cupola.workers.session import DecoderSession
    from cupola.workers.text import TextCodec

    folder = ModelFolder.read(Path(model.path), options.context)
    codec = TextCodec(folder.path)
    session = DecoderSession(
        folder, slots=options.slots, width=options.step_tokens, threads=options.threads
    )
    memory = options.kv_bytes or available_bytes() // 2
    positions = memory // session.cache.shape.bytes_per_token
    return Engine(folder, codec, session, options.step_tokens, positions, wake)
