"""Turns a model's folder into a backend. Imports the runtime only when a model is loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.cache.model_config import (
    FEW_TOKEN_FILES,
    FEW_TOKEN_GRAPH,
    RANKER,
    SPEECH,
    read_config,
)
from cupola.cache.system.digests import MANIFEST, DamagedFileError, check_digests
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.model.backend import Backend

if TYPE_CHECKING:
    from cupola.workers.device.device import Device
    from cupola.workers.engine.prefix_cache import PrefixCache
    from cupola.workers.engine.sequence import Reproducible
    from cupola.workers.kv.kv_cache import KeyValueCache
    from cupola.workers.kv.prefix_files import PrefixFiles
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.run.session import Session

logger = logging.getLogger(__name__)

_WINDOWS = 8  # of speech that are decoded at once, where no number of slots is set


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a worker runs its models."""

    backend: str = "onnx"  # or "genai", or "echo"
    slots: int = 16  # sequences a model runs at once; 0: what is learnt to be the best
    spare_slots: int = 0  # more of them, for clients that run nothing there
    step_tokens: int = 256  # tokens a step holds at most
    itl_seconds: float = 0.1  # between two tokens of an answer while prompts are read
    context: int = 0  # cap on a model's context; 0: the model's own
    threads: int = 1
    kv_bytes: int = 2**30  # memory for keys and values
    prefix_bytes: int = 0  # memory for those of ended sequences, beside ``kv_bytes``
    prefix_folder: Path | None = None  # where they are on the disk; None: nowhere
    prefix_disk_bytes: int = 0  # that they take there, for all models
    device: int = 0  # which of the provider's devices
    provider_options: tuple[tuple[str, str], ...] = ()  # in onnxruntime's words
    home: Home | None = None  # its cache may hold weights that sessions map; None: no such cache
    shared_disk_mb: int = 0  # the most that such weights take there; 0: a quarter of the disk
    shares: bool = False  # map the weights, because other workers map them as well
    # The largest weights of which a second copy, in blocks, is kept for steps of few tokens. There
    # is none if workers share weights.
    block_bytes: int = 0
    # The largest weights that are mapped, so that the halves of a step can run side by side.
    lane_bytes: int = 0
    int8_cache: bool = False  # keys and values of 8 bits if the model can; it needs ``home``
    reproducible: Reproducible = "asked"  # which requests must have the same answer again
    warm_up: bool = True  # prepare for requests while there are none
    recording_parts: int = 4  # parts of one recording that are heard at once, at most


def load(
    model: LocalModel, options: EngineOptions, wake: Callable[[], None] = lambda: None
) -> Backend:
    """Load a model, which takes seconds. Raises what the files or the runtime raise.

    The files are compared with the digests that were written when the model was installed. A model
    without such digests is loaded as it is. None are written for it: nobody knows whether the files
    are whole, and the folder may belong to another program.

    The backend calls ``wake`` from another thread when it has new work.
    """
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
    from cupola.workers.engine.slot_count import SlotCount
    from cupola.workers.model.advice import with_catalog
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.model.text import TextCodec
    from cupola.workers.planning.step_budget import StepBudget

    folder = ModelFolder.read(Path(model.path), options.context)
    _check(folder)
    advised = with_catalog(folder.advised, model.id)
    folder = replace(folder, advised=advised, few_tokens=_few_tokens_are_whole(folder))
    codec = TextCodec(folder.path)
    session = _session(folder, options, _device(model.provider, options))
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
    from cupola.workers.engine.prefix_cache import PrefixCache
    from cupola.workers.kv.kv_cache import KeyValueCache

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


def _check(folder: ModelFolder) -> None:
    """Raises ModelFolderError if a graph reads files outside, or a file is damaged.

    The graph for few tokens is left to ``_few_tokens_are_whole``.
    """
    from cupola.workers.graph.external_data import check_graph
    from cupola.workers.model.confinement import ConfinementError
    from cupola.workers.model.model_folder import ModelFolderError

    name = folder.path.name
    began = time.monotonic()
    try:
        if check_digests(folder.path, wanted=lambda each: each not in FEW_TOKEN_FILES):
            logger.info("%s is as it was installed, %.2f s", name, time.monotonic() - began)
        for file in folder.graphs:
            if file == folder.path / FEW_TOKEN_GRAPH:
                continue
            check_graph(file, folder.path)
    except ConfinementError as error:
        raise ModelFolderError(f"{name}: {error}") from error
    except DamagedFileError as error:
        text = (
            f"{name}/{error}; download or import the model again, or delete {MANIFEST} beside it "
            "if you have changed the file on purpose"
        )
        raise ModelFolderError(text) from error


def _few_tokens_are_whole(folder: ModelFolder) -> bool:
    """Whether the graph for few tokens can be used. The model does without one that is damaged."""
    from cupola.cache.error_text import without_paths
    from cupola.workers.graph.external_data import check_graph
    from cupola.workers.model.confinement import ConfinementError

    try:
        check_digests(folder.path, wanted=lambda each: each in FEW_TOKEN_FILES)
        if (file := folder.few_token_graph) is not None:
            check_graph(file, folder.path)
    except (ConfinementError, DamagedFileError, OSError) as error:
        why, name = without_paths(error, folder.path), folder.path.name
        logger.warning("%s: one answer at a time will be slower: %s", name, why)
        return False
    return True


def _device(provider: ExecutionProvider, options: EngineOptions) -> Device:
    from cupola.workers.device.device import Device

    return Device(provider, options.device, options.provider_options)


def _session(folder: ModelFolder, options: EngineOptions, device: Device) -> Session:
    """A session in which requests share runs; of onnxruntime-genai if that is not possible."""
    from cupola.cache.error_text import without_paths
    from cupola.workers.engine.slot_count import FIRST
    from cupola.workers.graph.attention_layers import UnservableGraphError
    from cupola.workers.run.paged_session import PagedSession

    slots, threads = (options.slots or FIRST) + options.spare_slots, options.threads
    why = f"{device.provider} cannot run requests of different lengths together"
    try:
        if options.backend != "onnx":
            why = f"the setting 'backend' is {options.backend}"
        elif device.provider is ExecutionProvider.CPU:
            return _cpu_session(folder, options, device)
        elif device.provider is ExecutionProvider.CUDA:
            return PagedSession(
                folder,
                slots=slots,
                threads=threads,
                device=device,
                cache_bytes=options.kv_bytes,
            )
    except UnservableGraphError as error:
        why = without_paths(error, folder.path)
    logger.warning("%s: requests do not share runs, because %s", folder.path.name, why)
    from cupola.workers.run.genai_session import GenaiSession

    return GenaiSession(folder, slots=slots, threads=threads, device=device, why=why)


def _cpu_session(folder: ModelFolder, options: EngineOptions, device: Device) -> Session:
    """Raises UnservableGraphError, ModelFolderError, ProviderError."""
    from cupola.workers.engine.slot_count import FIRST, MOST
    from cupola.workers.graph.attention_layers import UnservableGraphError
    from cupola.workers.run.decoder_session import DecoderSession
    from cupola.workers.run.int8_session import Int8Session
    from cupola.workers.run.prepacked import PrepackedWeights

    home = options.home
    prepacked = (
        PrepackedWeights(home, folder.path, device, options.shared_disk_mb) if home else None
    )
    width, threads = options.step_tokens, options.threads
    if options.int8_cache and prepacked is not None:
        try:
            return Int8Session(
                folder,
                prepacked,
                slots=(options.slots or FIRST) + options.spare_slots,
                width=width,
                threads=threads,
            )
        except UnservableGraphError as error:
            name = folder.path.name
            logger.warning("%s: its keys and values stay as they are: %s", name, error)
    return DecoderSession(
        folder,
        slots=(options.slots or MOST) + options.spare_slots,
        width=width,
        threads=threads,
        prepacked=prepacked if options.shares else None,
        block_bytes=0 if options.shares else options.block_bytes,
        lanes=prepacked if folder.decoder_bytes <= options.lane_bytes else None,
    )


def _load_encoder(
    path: Path, provider: ExecutionProvider, options: EngineOptions, wake: Callable[[], None]
) -> Backend:
    from cupola.workers.encoder.embedding import EmbeddingBackend
    from cupola.workers.encoder.encoder_session import EncoderSession
    from cupola.workers.encoder.pooling import Pooling
    from cupola.workers.model.model_folder import ModelFolder
    from cupola.workers.model.text import TextCodec

    folder = ModelFolder.read(path)
    _check(folder)
    pooling = Pooling.read(path)
    device = _device(provider, options)
    session = EncoderSession(folder, options.threads, device, scores_pairs=pooling.scores_pairs)
    return EmbeddingBackend(folder, TextCodec(path), session, pooling, wake)


def _load_speech(
    path: Path, provider: ExecutionProvider, options: EngineOptions, wake: Callable[[], None]
) -> Backend:
    from tokenizers import Tokenizer

    from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
    from cupola.workers.speech.speech_session import SpeechSession
    from cupola.workers.speech.speech_tokens import SpeechTokens
    from cupola.workers.speech.transcription import TranscriptionBackend

    folder = ModelFolder.read(path)
    _check(folder)
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
