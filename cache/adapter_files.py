"""The files of a LoRA adapter, as PEFT names them, and onnxruntime's form of one."""

from __future__ import annotations

from pathlib import Path

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ONNX_ADAPTER = ".onnx_adapter"


def files_of(adapter: Path) -> list[Path]:
    """The files of an adapter, which is a folder or a file."""
    if adapter.suffix == ONNX_ADAPTER:
        return [adapter]
    return [adapter / ADAPTER_CONFIG, adapter / ADAPTER_WEIGHTS]
