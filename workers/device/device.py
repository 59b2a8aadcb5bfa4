"""Where models run: an execution provider of onnxruntime and the number of a device.

Sessions start there or not at all. onnxruntime itself would silently fall back to the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime as ort

from cupola.cache.catalog import ExecutionProvider
from cupola.workers.device.attention import ATTENTION
from cupola.workers.device.discovery import missing
from cupola.workers.model.model_folder import ModelFolderError


class ProviderError(RuntimeError):
    """The provider cannot start on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of this machine. ``options``: of its provider, in onnxruntime's words."""

    provider: ExecutionProvider = ExecutionProvider.CPU
    index: int = 0
    options: tuple[tuple[str, str], ...] = ()

    @property
    def memory(self) -> str:
        """onnxruntime's name for the memory in which keys and values lie."""
        return "cuda" if self.provider is ExecutionProvider.CUDA else "cpu"

    def open(
        self, model: bytes | str, options: ort.SessionOptions, file: str, *, tiled: bool = True
    ) -> ort.InferenceSession:
        """Start a session of a model, given by its bytes or its path. Errors name ``file``.

        ``tiled``: attention on the CPU goes through keys and values in tiles. Otherwise it has
        memory for all scores of a run, and rounds differently. Which is faster depends on the
        processor.

        Raises ProviderError, ModelFolderError.
        """
        try:
            with ATTENTION.starting(tiled=tiled):
                return self._start(model, options)
        except ProviderError:
            raise
        except Exception as error:  # onnxruntime's own tree, which names no file
            text = f"onnxruntime refuses {file} or {file}.data: {error}"
            raise ModelFolderError(text) from error

    def _start(self, model: bytes | str, options: ort.SessionOptions) -> ort.InferenceSession:
        name = str(self.provider)
        if name not in (installed := ort.get_available_providers()):
            raise ProviderError(f"{name} cannot be used: {missing(name, installed)}")
        if self.provider is ExecutionProvider.CPU:
            return ort.InferenceSession(model, options, providers=[(name, dict(self.options))])
        own = {"device_id": str(self.index)} | dict(self.options)
        providers = [(name, own), str(ExecutionProvider.CPU)]
        session = ort.InferenceSession(model, options, providers=providers)
        if name not in session.get_providers():
            raise ProviderError(f"{name} is installed but did not start; the log above says why")
        return session


CPU = Device()
