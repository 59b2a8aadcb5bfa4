"""Which session runs a model's graph."""

from __future__ import annotations

import logging

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.error_text import without_paths
from cupola.workers.device.device import Device
from cupola.workers.engine_options import EngineOptions
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.planning.slot_count import FIRST, MOST
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.int8_session import Int8Session
from cupola.workers.run.paged_session import PagedSession
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.session import Session

logger = logging.getLogger(__name__)


def session_for(folder: ModelFolder, options: EngineOptions, device: Device) -> Session:
    """A session in which requests share runs; of onnxruntime-genai if that is not possible."""
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
        block_bytes=options.copied_bytes,
        lanes=prepacked if folder.decoder_bytes <= options.lane_bytes else None,
    )
