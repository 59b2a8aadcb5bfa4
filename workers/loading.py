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
    step_tokens: int = 256  # tokens a step holds at most
    itl_seconds: float = 0.1  # between two tokens of an answer, while prompts are read beside it
    context: int = 0  # cap on a model's context; 0: the model's own
    threads: int = 1
    kv_bytes: int = 2**30  # memory for keys and values


def load(
    model: LocalModel, options: EngineOptions, wake: Callable[[], None] = lambda: None
) -> Backend:
    """Load a model; takes seconds. Raises what the files or the runtime have against it.

    The backend calls ``wake``, from another thread, when it has work that it had not before.
    """
    if options.backend == "echo":
        from cupola.workers.echo import EchoBackend

        return EchoBackend()
    if (Path(model.path) / "modules.json").exists():
        return _load_encoder(Path(model.path), options)
    from cupola.workers.engine import Engine
    from cupola.workers.model_folder import ModelFolder
    from cupola.workers.pace import Pace
    from cupola.workers.session import DecoderSession
    from cupola.workers.text import TextCodec

    folder = ModelFolder.read(Path(model.path), options.context)
    codec = TextCodec(folder.path)
    session = DecoderSession(
        folder, slots=options.slots, width=options.step_tokens, threads=options.threads
    )
    positions = options.kv_bytes // session.cache.shape.bytes_per_token
    return Engine(
        folder, codec, session, Pace(options.itl_seconds, options.step_tokens), positions, wake
    )


def _load_encoder(path: Path, options: EngineOptions) -> Backend:
    from cupola.workers.embedding import EmbeddingBackend
    from cupola.workers.encoder_session import EncoderSession
    from cupola.workers.model_folder import ModelFolder
    from cupola.workers.pooling import Pooling
    from cupola.workers.text import TextCodec

    folder = ModelFolder.read(path)
    pooling = Pooling.read(path)
    session = EncoderSession(folder, options.threads)
    return EmbeddingBackend(folder, TextCodec(path), session, pooling)
