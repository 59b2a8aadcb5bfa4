"""Runs onnxruntime-genai's model builder, for families that the converter here does not know.

It needs torch and transformers (the extra ``cupola[convert]``), so it is a process of its own. It
reads the folder alone: no network, no code of the repository.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cupola.cache.convert.formats.json_file import JsonObject
from cupola.cache.errors import NoMemoryError, UnknownFamilyError, UnsupportedError
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress
from cupola.cache.system.machine_memory import memory_bytes

_NEEDED = ("torch", "transformers", "onnx_ir", "onnxruntime_genai")
_PRECISIONS = {Precision.INT4: "int4", Precision.FP16: "fp16", Precision.FP32: "fp32"}
# Version 0.18 gives OLMo another kind of norm, so that its logits are off by a fifth. It does not
# know the positions of PhiMoE.
_NOT_MADE = frozenset({"olmo", "phimoe"})
_LAYER = re.compile(r"Reading layer (\d+)")
_KEPT_LINES = 40  # of what the builder says
_MAX_LINE = 300
# Of the weights' size in 16 bits: it holds them as float32, and a part of them rounded beside.
_MEMORY_OF_SIZE = 2.5


def missing() -> list[str]:
    """The libraries of the extra that are not installed."""
    return [name for name in _NEEDED if find_spec(name) is None]


def need_builder(reason: UnknownFamilyError) -> None:
    """Raises UnsupportedError, which names the extra, when the builder cannot run here.

    Raises ``reason`` where the builder makes a wrong model, or none.
    """
    if reason.family in _NOT_MADE:
        raise reason
    if missing():
        raise UnsupportedError(
            f"{reason}. onnxruntime-genai's builder knows more families: install the extra "
            "cupola[convert] (pip install 'cupola[convert]', which brings torch), and try again"
        )


def need_known_layers(config: JsonObject, precision: Precision) -> None:
    """Raises UnsupportedError for what the builder does not know of a family, or leaves out."""
    if config.get("model_type", str, "") == "gpt_oss" and precision is Precision.FP16:
        raise UnsupportedError(
            "At 16 bits onnxruntime-genai's builder leaves out gpt-oss' attention sinks, and the "
            "answers are wrong. Import it with four bits, which is the default"
        )
    kinds = config.get("layer_types", list, [])
    if config.get("model_type", str, "") == "granitemoehybrid" and "mamba" in kinds:
        raise UnsupportedError(
            "Most layers of the model are Mamba-2, which onnxruntime-genai's builder does not "
            "make. Of Granite 4, take a model without 'h' in its name, or a ready ONNX folder"
        )


def need_memory_of_builder(name: str, size: int, *, memory: int | None = None) -> None:
    """Raises NoMemoryError when the builder would need more memory than the machine has.

    ``size``: of the weights' files in bytes.
    """
    memory = memory_bytes() if memory is None else memory
    needed = round(size * _MEMORY_OF_SIZE)
    if memory and needed > memory:
        text = "The builder holds them as float32. Take a GGUF or a ready ONNX folder of the model"
        raise NoMemoryError(name, needed, memory, text)


def build(
    folder: Path,
    target: Path,
    precision: Precision,
    layers: int,
    progress: Progress,
    command: Sequence[str] = (sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"),
) -> None:
    """Writes the model folder ``target`` of the repository in ``folder``.

    ``layers``: how many the model has, for the progress; 0: not known. Stage: "convert". The
    process ends with this one. Raises UnsupportedError when the builder cannot do it.
    """
    arguments = [
        *command,
        *("-i", str(folder), "-o", str(target), "-e", "cpu"),
        *("-p", _PRECISIONS[precision], "-c", str(target.with_name("builder-cache"))),
        *("--extra_options", "hf_remote=false", "hf_token=false"),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    progress("convert", 0, layers or None)
    said: list[str] = []
    with subprocess.Popen(
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                said = [*said[1 - _KEPT_LINES :], line.strip()[:_MAX_LINE]]
                if found := _LAYER.search(line):
                    progress("convert", int(found[1]) + 1, layers or None)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        why = next((line for line in reversed(said) if line), f"status {process.returncode}")
        raise UnsupportedError(f"onnxruntime-genai's builder cannot convert the model: {why}")
