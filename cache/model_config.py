"""What a model's genai_config.json, and its name, say about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from cupola.cache.catalog import DeviceType, ExecutionProvider, ModelVariant

_T = TypeVar("_T")

GENAI_CONFIG = "genai_config.json"
MAIN_GRAPH = "model.onnx"
# The same model with fewer bits, over the same keys and values. It is faster for few tokens.
FEW_TOKEN_GRAPH = "few_tokens.onnx"
FEW_TOKEN_FILES = (FEW_TOKEN_GRAPH, f"{FEW_TOKEN_GRAPH}.data")
_MAX_JSON = 1 << 22  # bytes
_DEVICE_SUFFIX = re.compile(
    r"-(generic|cuda|qnn|openvino|trtrtx|tensorrt|vitis|webgpu|dml|int4|w8a8|fp16)-(cpu|gpu|npu)$",
    re.IGNORECASE,
)
# By the type of a model that generates no text.
SPEECH = "whisper"
ENCODER = "bert"
RANKER = "bert-ranker"
_TASKS = {ENCODER: "embeddings", RANKER: "text-ranking", SPEECH: "automatic-speech-recognition"}
# By the names that genai_config.json's provider_options have.
_PROVIDERS = {
    "cpu": (ExecutionProvider.CPU, DeviceType.CPU),
    "cuda": (ExecutionProvider.CUDA, DeviceType.GPU),
    "webgpu": (ExecutionProvider.WEBGPU, DeviceType.GPU),
    "dml": (ExecutionProvider.DML, DeviceType.GPU),
    "nvtensorrtrtx": (ExecutionProvider.TENSORRT_RTX, DeviceType.GPU),
    "openvino": (ExecutionProvider.OPENVINO, DeviceType.CPU),
    "qnn": (ExecutionProvider.QNN, DeviceType.NPU),
    "vitisai": (ExecutionProvider.VITISAI, DeviceType.NPU),
}


class _SessionOptions(msgspec.Struct):
    provider_options: list[dict[str, object]] = []


class _Decoder(msgspec.Struct):
    session_options: _SessionOptions = msgspec.field(default_factory=_SessionOptions)


class _Model(msgspec.Struct):
    type: str = ""
    context_length: int = 0
    decoder: _Decoder = msgspec.field(default_factory=_Decoder)


class _Search(msgspec.Struct):
    max_length: int = 0


class GenaiConfig(msgspec.Struct):
    """The part of genai_config.json that says something about the model as a whole."""

    model: _Model
    search: _Search = msgspec.field(default_factory=_Search)


def read_config(folder: Path) -> GenaiConfig:
    """Raises ValueError, which says what is wrong with the file, and OSError."""
    return decode_json(folder / GENAI_CONFIG, GenaiConfig)


def described_by_folder(folder: Path, name: str) -> ModelVariant:
    """The variant that the genai_config.json in ``folder`` describes, if it is called ``name``.

    Raises ValueError, which says what is wrong with the file, and OSError.
    """
    config = read_config(folder)
    alias = alias_of(f"{name}:1")
    variant = ModelVariant(
        id=f"{name}:1", alias=alias, display_name=name, publisher="local", license=""
    )
    if _DEVICE_SUFFIX.search(name) is None:
        provider, device = _provider(config, name)
        maker = next(k for k, v in _PROVIDERS.items() if v[0] is provider)
        maker = {"cpu": "generic", "webgpu": "generic", "nvtensorrtrtx": "trtrtx"}.get(maker, maker)
        name = f"{name}-{maker.removesuffix('ai')}-{device.lower()}"
    return as_configured(msgspec.structs.replace(variant, id=f"{name}:1"), config)


def alias_of(model_id: str) -> str:
    """A short name as Foundry Local has them: ``Phi-4-mini-instruct-generic-cpu:5`` is
    ``phi-4-mini``."""
    name = _DEVICE_SUFFIX.sub("", model_id.rpartition(":")[0] or model_id).lower()
    return name.replace("-instruct", "") or name


def as_configured(variant: ModelVariant, config: GenaiConfig) -> ModelVariant:
    """``variant`` with what its genai_config.json says. Raises ValueError."""
    provider, device = _provider(config, variant.id)
    context = config.model.context_length or variant.context_length
    return msgspec.structs.replace(
        variant,
        provider=provider,
        device=device,
        task=_TASKS.get(config.model.type, variant.task),
        context_length=context,
        max_output_tokens=min(config.search.max_length or context, context),
    )


def _provider(config: GenaiConfig, model_id: str) -> tuple[ExecutionProvider, DeviceType]:
    options = config.model.decoder.session_options.provider_options
    name = next(iter(options[0]), "cpu") if options else "cpu"
    if name.lower() not in _PROVIDERS:
        raise ValueError(f"{GENAI_CONFIG} wants the unknown provider '{name}'")
    provider, device = _PROVIDERS[name.lower()]
    suffix = _DEVICE_SUFFIX.search(model_id.rpartition(":")[0])
    if suffix and len(options) and provider is ExecutionProvider.OPENVINO:
        device = DeviceType(suffix[2].upper())  # one provider for all of a vendor's devices
    return provider, device


def decode_json(path: Path, kind: type[_T]) -> _T:
    """Read a file of JSON. Raises ValueError, OSError."""
    with path.open("rb") as file:
        content = file.read(_MAX_JSON + 1)
    if len(content) > _MAX_JSON:
        raise ValueError(f"{path.name} is larger than {_MAX_JSON} bytes")
    try:
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path.name}: {error}") from None
