"""What the scheduler knows of its workers, and what it has counted.

Plain data. Nothing here does I/O.
"""

from __future__ import annotations

import msgspec

from cupola.cache.catalog import ExecutionProvider


class Serving(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker runs a model that it has loaded."""

    engine: str  # "batching", "onnxruntime-genai", "encoder", "speech" or "echo"
    why: str = ""  # why it is not the batching engine, as a text for people
    expires_in: float | None = None  # seconds until it is unloaded if unused; None: not by time
    kv_cache: str = ""  # type of the keys and values, such as "float32"; "" where it is not known
    # Whether the same request can have the same answer again, to the bit, as was tested when the
    # model was loaded; None: it generates no text.
    reproducible: bool | None = None
    kept_bytes: int = 0  # keys and values of earlier prompts, beside those in slots
    kept_hits: int = 0  # tokens of prompts that were found there
    kv_usage: float = 0.0  # how much of the room for keys and values running sequences take
    weight_bytes: int = 0  # of the model's files


class WorkerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    provider: ExecutionProvider
    pid: int
    running: int = 0
    memory_bytes: int = 0
    resident: tuple[str, ...] = ()  # ids of the loaded models
    serving: dict[str, Serving] = {}  # how each loaded model is run, by its id
    slots: int = 0  # how many requests it takes at once
    loading: tuple[str, ...] = ()  # ids of models that it loads or will load
    leaving: bool = False  # it gets no further work


class ProviderState(msgspec.Struct, frozen=True):
    """An execution provider of the installed runtime, after it was tried."""

    name: str
    problem: str = ""  # for people; empty: it works


class Totals(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was counted since the scheduler started: requests that have ended, tokens of all."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    audio_seconds: int = 0  # of recordings that were transcribed to their end
    malformed_frames: int = 0  # that came to the scheduler and were dropped
    loads: int = 0  # of models into a worker's memory
    unloads: int = 0
    evictions: int = 0  # of the unloads, those that made room for another model
    worker_restarts: int = 0
