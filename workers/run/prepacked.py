"""Weights in the layout that onnxruntime's kernels want, mapped from a file by all workers.

When a session starts, it brings its weights into another layout ("prepacks" them), in memory of its
own. Here one session writes its graph with these layouts to a folder of the cache, an entry. It and
all other sessions map that file: its pages are in memory once, however many processes there are.

An entry fits one state of the model's files, one processor and one version of the runtime. No model
needs one: if the entry cannot be written, the model is loaded without it. Each file of an entry has
digests, which are compared whenever a session maps it. A damaged entry is written again. The
model's folder is only read.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from cupola.cache.disk.prepacked_entries import LOST, MANIFEST, limit_bytes, note_use, tidy
from cupola.cache.home import Home
from cupola.cache.staging import staging
from cupola.cache.system.digests import check_digests, write_digests
from cupola.cache.system.locks import file_lock
from cupola.cache.system.processor import processor
from cupola.workers.device.device import Device
from cupola.workers.device.machine import release_memory

logger = logging.getLogger(__name__)

_GRAPH = "graph.onnx"
_WEIGHTS = "weights.bin"
SPACE = 3  # times the model's size must be free: its weights are written twice, and padded
_LOST_SECONDS = 7 * 24 * 3600  # a machine that others use does not stay the same for long
_ERRORS_ONLY = 3  # log level: onnxruntime warns that the graph fits this machine only


@dataclass(frozen=True, slots=True)
class PrepackedWeights:
    """The prepacked weights of one model, in the cache of ``home``."""

    home: Home
    model: Path  # the model's folder
    device: Device
    limit_mb: int = 0  # the most that all entries take; 0: a quarter of the disk

    def open(self, graph: bytes, options: ort.SessionOptions, file: str) -> ort.InferenceSession:
        """A session of the entry; if there can be no entry, one that ``Device.open`` makes.

        Raises ProviderError, ModelFolderError.
        """
        try:
            return self.mapped(graph, options, file)
        except (OSError, ValueError) as error:
            logger.warning("%s: its weights are not shared: %s", self.model.name, error)
        return self.device.open(graph, options, file)

    def mapped(self, graph: bytes, options: ort.SessionOptions, file: str) -> ort.InferenceSession:
        """A session of the entry, which is written first if it is missing.

        Only the number of threads is taken from ``options``. Raises OSError, ValueError,
        ProviderError.
        """
        entry = None
        try:
            entry = self._entry(graph)
            if not is_whole(entry):
                self.write(entry, graph, options.intra_op_num_threads, file)
            session = self.map(entry / _GRAPH, options.intra_op_num_threads)
            note_use(entry)
        except (OSError, ValueError):
            if entry is not None:
                shutil.rmtree(entry, ignore_errors=True)
            raise
        release_memory()  # nothing will use what was freed here: the weights are mapped
        return session

    def has_lost(self, graph: bytes) -> bool:
        """Whether the entry was given up, not long ago. Raises OSError."""
        note = self._entry(graph) / LOST
        return note.exists() and time.time() - note.stat().st_mtime < _LOST_SECONDS

    def give_up(self, graph: bytes) -> None:
        """Delete the entry, which makes nothing faster here. A note of it stays for a while."""
        try:
            entry = self._entry(graph)
            with file_lock(self.home.prepacked / ".lock"):
                shutil.rmtree(entry, ignore_errors=True)
                entry.mkdir(parents=True, exist_ok=True)
                (entry / LOST).touch()
        except OSError as error:  # then it is tried again at the next start
            logger.warning("%s: %s", self.model.name, error)

    def _entry(self, graph: bytes) -> Path:
        return self.home.prepacked_folder(self.model) / self._key(graph)

    def variant(self, graph: bytes, name: str, make: Callable[[bytes], bytes]) -> Path:
        """A file beside the entry's graph, over the same weights; ``make`` makes it of that graph.

        It is made once. The entry must be there. Raises OSError, ValueError.
        """
        entry = self._entry(graph)
        path, manifest = entry / name, f"{name}.json"
        if not _is_unchanged(entry, manifest):
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(make((entry / _GRAPH).read_bytes()))
            draft.replace(path)
            write_digests(entry, [name], manifest)
        return path

    def map(self, graph: Path, threads: int, *, tiled: bool = True) -> ort.InferenceSession:
        """A session of an entry's graph. ``tiled``: see ``Device.open``.

        Raises ProviderError, ModelFolderError.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # The graph was optimised when it was written. A node that changed now would not find its
        # weights in the layout that it needs.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.force_spinning_stop", "1")
        file = f"{graph.parent.name}/{graph.name}"
        return self.device.open(str(graph), options, file, tiled=tiled)

    def _key(self, graph: bytes) -> str:
        """The entry's name. It differs with everything that decides what the entry holds."""
        digest = hashlib.sha256(graph)
        decisive = [ort.__version__, ort.get_build_info(), processor()]
        for path in self._files():
            state = path.stat()
            decisive.append(f"{path.relative_to(self.model)} {state.st_size} {state.st_mtime_ns}")
        digest.update("\n".join(decisive).encode())
        return digest.hexdigest()[:16]

    def _files(self) -> list[Path]:
        return sorted(path for path in self.model.rglob("*") if path.is_file())

    def write(self, entry: Path, graph: bytes, threads: int, file: str) -> None:
        """Write the entry. If several processes try, the first one writes and the others wait.

        Raises OSError, ProviderError, ModelFolderError.
        """
        with file_lock(self.home.prepacked / ".lock"):
            if is_whole(entry):
                return
            began = time.monotonic()
            self._check_space()
            with staging(self.home) as folder:
                written = folder / "written"
                written.mkdir()
                self.device.open(graph, self._writing_options(written, threads), file)
                size = _complete(written)
                self._make_room(entry, size)
                entry.parent.mkdir(parents=True, exist_ok=True)
                written.rename(entry)
            name, seconds = self.model.name, time.monotonic() - began
            logger.info("wrote %d MB of %s for workers to share, %.1f s", size >> 20, name, seconds)

    def _writing_options(self, folder: Path, threads: int) -> ort.SessionOptions:
        """Options of a session that writes an entry when it starts."""
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

    def _check_space(self) -> None:
        size = sum(path.stat().st_size for path in self._files())
        if shutil.disk_usage(self.home.prepacked).free < SPACE * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.home.prepacked))
        self._check_limit(size)  # an entry is at least as large

    def _check_limit(self, size: int) -> int:
        """The most that all entries may take. Raises OSError if one of ``size`` bytes is above."""
        limit = limit_bytes(self.home, self.limit_mb)
        if size > limit:
            text = f"{size / 1e6:.0f} MB are more than shared_weights_disk_mb allows"
            raise OSError(errno.EDQUOT, text)
        return limit

    def _make_room(self, entry: Path, size: int) -> None:
        """Delete the entries that this one of ``size`` bytes replaces, and those above the limit.

        Raises OSError.
        """
        limit = self._check_limit(size)
        shutil.rmtree(entry.parent, ignore_errors=True)
        tidy(self.home, limit, time.time(), size)


def _complete(entry: Path) -> int:
    """Sync the entry's files, then write its manifest. Returns the size of the files in bytes."""
    for name in (_GRAPH, _WEIGHTS):
        with (entry / name).open("rb+") as file:
            os.fsync(file.fileno())
    write_digests(entry, (_GRAPH, _WEIGHTS), MANIFEST)
    return sum((entry / name).stat().st_size for name in (_GRAPH, _WEIGHTS))


def is_whole(entry: Path) -> bool:
    """Whether the entry was written to its end and its files are as they were then."""
    return _is_unchanged(entry, MANIFEST)


def _is_unchanged(entry: Path, manifest: str) -> bool:
    try:
        return check_digests(entry, manifest)
    except (OSError, ValueError):
        return False
