"""Turns a model's folder into a backend. Imports the runtime only when a model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.model_config import RANKER, SPEECH, read_config
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.mapped_files import drop_pages
from cupola.workers.engine_options import EngineOptions
from cupola.workers.model.backend import Backend
from cupola.workers.run.background import ORDER

if TYPE_CHECKING:
    from cupola.workers.device.device import Device
    from cupola.workers.kv.kv_cache import KeyValueCache
    from cupola.workers.kv.prefix_files import PrefixFiles
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.run.session import Session
    from cupola.workers.slots.prefix_cache import PrefixCache

logger = logging.getLogger(__name__)

_WINDOWS = 8  # of speech that are decoded at once, where no number of slots is set


def load(
    model: LocalModel, options: EngineOptions, wake: Callable[[], None] = lambda: None
) -> Backend:
    """Load a model, which takes seconds. Raises what the files or the runtime raise.

    The files are compared with the digests that were written when the model was installed. A model
    without such digests is loaded as it is. None are written for it: nobody knows whether the files
    are whole, and the folder may belong to another program.

    The backend calls ``wake`` from another thread when it has new work.
    """
    with ORDER.load():
        backend = _load(model, options, wake)
    drop_pages(Path(model.path))  # the sessions have read all weights, and most are not read again
    return backend


def _load(model: LocalModel, options: EngineOptions, wake: Callable[[], None]) -> Backend:
    if options.backend == "echo":
        from cupola.workers.echo import EchoBackend

        return EchoBackend()
    if (Path(model.path) / "modules.json").exists():
        return _load_encoder(Path(model.path), model.provider, options, wake)
    kind = read_config(Path(model.path)).model.type
    if kind == RANKER:
        return _load_encoder(Path(model.path), model.provider, options, wake)
    if kind == SPEECH:
        return _load_speech(Path(model.path), model.provider, options, wake)
    from cupola.workers.engine.engine import Engine
    from cupola.workers.file_checks import check_files, few_tokens_are_whole
    from cupola.workers.model.advice import with_catalog
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.model.text import TextCodec
    from cupola.workers.planning.slot_count import SlotCount
    from cupola.workers.planning.step_budget import StepBudget
    from cupola.workers.sessions import session_for

    folder = ModelFolder.read(Path(model.path), options.context)
    check_files(folder)
    advised = with_catalog(folder.advised, model.id)
    folder = replace(folder, advised=advised, few_tokens=few_tokens_are_whole(folder))
    codec = TextCodec(folder.path)
    session = session_for(folder, options, _device(model.provider, options))
    # If the runtime does not say how much memory a token takes, the slots are the only limit.
    everything = session.slots * (folder.context + options.step_tokens)
    bytes_per_token = session.cache.bytes_per_token
    positions = options.kv_bytes // bytes_per_token if bytes_per_token else everything
    step_budget = StepBudget(options.itl_seconds, options.step_tokens)
    return Engine(
        folder,
        codec,
        session,
        step_budget,
        positions,
        wake,
        reproducible=options.reproducible,
        spare=options.spare_slots,
        warms_up=options.warm_up,
        prefixes=_prefixes(folder, session, options),
        slot_count=SlotCount(
            options.slots, options.itl_seconds, session.slots - options.spare_slots
        ),
    )


def _prefixes(folder: ModelFolder, session: Session, options: EngineOptions) -> PrefixCache | None:
    """Memory, and files, for what slots cannot keep; None where rows cannot be copied."""
    from cupola.workers.kv.kv_cache import KeyValueCache
    from cupola.workers.slots.prefix_cache import PrefixCache

    cache = session.cache
    wanted = options.prefix_bytes or options.prefix_folder is not None
    if not wanted or not isinstance(cache, KeyValueCache):
        return None
    return PrefixCache(cache, options.prefix_bytes, files=_prefix_files(folder, cache, options))


def _prefix_files(
    folder: ModelFolder, cache: KeyValueCache, options: EngineOptions
) -> PrefixFiles | None:
    """Raises nothing: without its files the cache is in memory only."""
    from cupola.workers.kv.prefix_files import PrefixFiles
    from cupola.workers.kv.prefix_memory import BLOCK
    from cupola.workers.run.model_state import model_state

    if options.prefix_folder is None:
        return None
    try:
        key = model_state(folder.path, repr(cache.shape), str(BLOCK))
        return PrefixFiles(options.prefix_folder, key, options.prefix_disk_bytes)
    except OSError as error:
        logger.warning("the prefix cache is not kept on the disk: %s", error.strerror)
        return None


def _load_encoder(
    path: Path, provider: ExecutionProvider, options: EngineOptions, wake: Callable[[], None]
) -> Backend:
    from cupola.workers.encoder.embedding import EmbeddingBackend
    from cupola.workers.encoder.encoder_session import EncoderSession
    from cupola.workers.encoder.pooling import Pooling
    from cupola.workers.file_checks import check_files
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.model.text import TextCodec

    folder = ModelFolder.read(path)
    check_files(folder)
    pooling = Pooling.read(path)
    device = _device(provider, options)
    session = EncoderSession(folder, options.threads, device, scores_pairs=pooling.scores_pairs)
    return EmbeddingBackend(folder, TextCodec(path), session, pooling, wake)


def _load_speech(
    path: Path, provider: ExecutionProvider, options: EngineOptions, wake: Callable[[], None]
) -> Backend:
    from tokenizers import Tokenizer

    from cupola.workers.file_checks import check_files
    from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
    from cupola.workers.speech.speech_session import SpeechSession
    from cupola.workers.speech.speech_tokens import SpeechTokens
    from cupola.workers.speech.transcription import TranscriptionBackend

    folder = ModelFolder.read(path)
    check_files(folder)
    session = SpeechSession(
        folder,
        slots=options.slots or _WINDOWS,
        cache_bytes=options.kv_bytes,
        threads=options.threads,
        device=_device(provider, options),
    )
    try:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the library raises plain exceptions
        raise ModelFolderError(f"{path.name}/tokenizer.json cannot be read: {error}") from error
    tokens = SpeechTokens.read(path, tokenizer, session.vocabulary)
    return TranscriptionBackend(
        session,
        tokenizer,
        tokens,
        wake,
        recording_parts=options.recording_parts,
        itl_seconds=options.itl_seconds,
    )


def _device(provider: ExecutionProvider, options: EngineOptions) -> Device:
    from cupola.workers.device.device import Device

    return Device(provider, options.device, options.provider_options)
