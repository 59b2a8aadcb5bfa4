"""Where models run: an execution provider of onnxruntime and the number of a device.

Starts sessions there, and never elsewhere: onnxruntime itself falls back to the CPU in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime as ort

from cupola.cache.catalog import ExecutionProvider

ort.disable_telemetry_events()

# What pip installs for a provider that the runtime of the default install does not have.
_PACKAGES = {
    ExecutionProvider.CUDA: "onnxruntime-gpu",
    ExecutionProvider.DML: "onnxruntime-directml",
    ExecutionProvider.OPENVINO: "onnxruntime-openvino",
    ExecutionProvider.QNN: "onnxruntime-qnn",
}


class ProviderError(RuntimeError):
    """The provider cannot start on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Device:
    provider: ExecutionProvider = ExecutionProvider.CPU
    index: int = 0

    @property
    def memory(self) -> str:
        """The name that onnxruntime has for the memory in which keys and values lie."""
        return "cuda" if self.provider is ExecutionProvider.CUDA else "cpu"

    def start(self, model: bytes | str, options: ort.SessionOptions) -> ort.InferenceSession:
        """A session of a model (its bytes or its path).

        Raises ProviderError; and onnxruntime's own errors, which have no tree, for the model.
        """
        name = str(self.provider)
        if name not in ort.get_available_providers():
            raise ProviderError(missing(self.provider))
        if self.provider is ExecutionProvider.CPU:
            return ort.InferenceSession(model, options, providers=[name])
        asked = [(name, {"device_id": str(self.index)}), str(ExecutionProvider.CPU)]
        session = ort.InferenceSession(model, options, providers=asked)
        if name not in session.get_providers():
            raise ProviderError(f"{name} is installed but did not start; the log above says why")
        return session


CPU = Device()


def missing(provider: ExecutionProvider) -> str:
    """What to tell when the installed runtime does not have the provider."""
    has = ", ".join(ort.get_available_providers())
    text = f"the installed onnxruntime has no {provider}, only {has}"
    package = _PACKAGES.get(provider)
    return f"{text}; pip install {package} in place of onnxruntime brings it" if package else text
