"""Weights in the layout that onnxruntime's kernels want, mapped from a file by all workers.

A session lays its weights out anew ("prepacks" them) when it starts, in memory of its own. Here
one session writes its graph with these layouts to a folder of the cache, an entry, and it and all
others map that: its pages are in memory once, however many processes there are. An entry is good
for one state of the model's files, one processor and one version of the runtime, and is never
needed: a model whose entry is damaged or cannot be written is loaded without, and a damaged one is
made again. The model's folder is only read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from cupola.cache.home import Home
from cupola.cache.locks import file_lock
from cupola.cache.processor import processor
from cupola.cache.staging import staging
from cupola.workers.device.device import Device
from cupola.workers.device.machine import release_memory

logger = logging.getLogger(__name__)

_GRAPH = "graph.onnx"
_WEIGHTS = "weights.bin"
_MANIFEST = "files.json"  # written last: size and time of the others
_SPACE = 3  # times the model's size must be free: its weights are written twice, and padded
_ERRORS_ONLY = 3  # of onnxruntime's log; it warns that the graph is good for this machine only


@dataclass(frozen=True, slots=True)
class PrepackedWeights:
    """Those of one model, in the cache of ``home``."""

    home: Home
    model: Path  # the model's folder
    device: Device

    def open(self, graph: bytes, options: ort.SessionOptions, file: str) -> ort.InferenceSession:
        """As ``Device.open`` does it, where there can be no entry, too.

        Raises ProviderError, ModelFolderError.
        """
        try:
            return self.mapped(graph, options, file)
        except (OSError, ValueError) as error:
            logger.warning("%s: its weights are not shared: %s", self.model.name, error)
        return self.device.open(graph, options, file)

    def mapped(self, graph: bytes, options: ort.SessionOptions, file: str) -> ort.InferenceSession:
        """A session of the entry, which is made if need be. Of ``options`` it takes the number of
        threads only. Raises OSError, ValueError, ProviderError.
        """
        entry = None
        try:
            entry = self.home.prepacked_folder(self.model) / self._key(graph)
            if not _is_whole(entry):
                self._make(entry, graph, options.intra_op_num_threads, file)
            session = self.map(entry / _GRAPH, options.intra_op_num_threads)
        except (OSError, ValueError):
            if entry is not None:
                shutil.rmtree(entry, ignore_errors=True)
            raise
        release_memory()  # of what was freed here, no weights will take the place
        return session

    def variant(self, graph: bytes, name: str, make: Callable[[bytes], bytes]) -> Path:
        """What ``make`` makes of the entry's graph, which is there; made once. It is a file beside
        it, over the same weights. Raises OSError, ValueError.
        """
        entry = self.home.prepacked_folder(self.model) / self._key(graph)
        path = entry / name
        if not path.exists():
            made = path.with_suffix(f".{os.getpid()}")
            made.write_bytes(make((entry / _GRAPH).read_bytes()))
            made.replace(path)
        return path

    def map(self, graph: Path, threads: int) -> ort.InferenceSession:
        """A session of an entry's graph. Raises ProviderError, ModelFolderError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # The graph was optimised when it was written: a node that changed now would not find the
        # layout of its weights.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return self.device.open(str(graph), options, f"{graph.parent.name}/{graph.name}")

    def _key(self, graph: bytes) -> str:
        """Another one for whatever decides what an entry holds."""
        digest = hashlib.sha256(graph)
        decisive = [ort.__version__, ort.get_build_info(), processor()]
        for path in self._files():
            state = path.stat()
            decisive.append(f"{path.relative_to(self.model)} {state.st_size} {state.st_mtime_ns}")
        digest.update("\n".join(decisive).encode())
        return digest.hexdigest()[:16]

    def _files(self) -> list[Path]:
        return sorted(path for path in self.model.rglob("*") if path.is_file())

    def _make(self, entry: Path, graph: bytes, threads: int, file: str) -> None:
        """Write the entry; where several come at once, the first does and the others wait."""
        with file_lock(self.home.prepacked / ".lock"):
            if _is_whole(entry):
                return
            began = time.monotonic()
            self._ask_for_space()
            with staging(self.home) as folder:
                made = folder / "made"
                made.mkdir()
                self.device.open(graph, self._writing(made, threads), file)
                size = _complete(made)
                self._remove_others(entry)
                shutil.rmtree(entry, ignore_errors=True)
                entry.parent.mkdir(parents=True, exist_ok=True)
                made.rename(entry)
            name, seconds = self.model.name, time.monotonic() - began
            logger.info("wrote %d MB of %s for workers to share, %.1f s", size >> 20, name, seconds)

    def _writing(self, folder: Path, threads: int) -> ort.SessionOptions:
        """Options with which a session writes an entry when it starts."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        options.optimized_model_filepath = str(folder / _GRAPH)
        for key, value in (
            ("model_external_initializers_file_folder_path", str(self.model)),
            ("optimized_model_external_initializers_file_name", _WEIGHTS),
            ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
            ("save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(f"session.{key}", value)
        return options

    def _ask_for_space(self) -> None:
        size = sum(path.stat().st_size for path in self._files())
        if shutil.disk_usage(self.home.prepacked).free < _SPACE * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.home.prepacked))

    def _remove_others(self, entry: Path) -> None:
        """Entries that this one replaces, and those whose models are gone."""
        for manifest in list(self.home.prepacked.rglob(_MANIFEST)):
            other = manifest.parent
            model = self.home.models / other.parent.relative_to(self.home.prepacked)
            if other.parent == entry.parent or not model.is_dir():
                shutil.rmtree(other, ignore_errors=True)


def _complete(entry: Path) -> int:
    """Have its files on the disk, and then its manifest. Returns their size."""
    for name in (_GRAPH, _WEIGHTS):
        with (entry / name).open("rb+") as file:
            os.fsync(file.fileno())
    states = _states(entry)
    (entry / _MANIFEST).write_text(json.dumps(states), "utf-8")
    return sum(size for size, _ in states.values())


def _is_whole(entry: Path) -> bool:
    try:
        return bool(json.loads((entry / _MANIFEST).read_text("utf-8")) == _states(entry))
    except (OSError, ValueError):
        return False


def _states(entry: Path) -> dict[str, list[int]]:
    found = {name: (entry / name).stat() for name in (_GRAPH, _WEIGHTS)}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in found.items()}
