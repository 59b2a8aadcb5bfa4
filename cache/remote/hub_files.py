"""Which files of a repository make up a model. Pure: a listing in, a choice out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from cupola.cache.errors import NotFoundError, UnsupportedError
from cupola.cache.model_config import GENAI_CONFIG

_SPLIT = re.compile(r"^(.*)-(\d{5})-of-(\d{5})$")
_QUANT = re.compile(
    r"(?:^|[-._])(I?Q\d(?:_[A-Z0-9]+)*|T?Q\d_\d|BF16|F16|F32|MXFP4(?:_MOE)?)(?=$|[-._])", re.I
)
# The quants that are taken when none is named, best first. Eight bits lose next to nothing and
# become eight bits here; the others are for repositories that have none.
_PREFERRED = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q5_K_S", "Q4_K_S", "Q5_0", "Q5_1", "Q4_1", "Q4_0",
    "BF16", "F16", "F32",
)  # fmt: skip
_NO_MODEL = ("mmproj", "imatrix")  # GGUF files that are no language model
_SENTENCES = (
    "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
# What a decoder's folder has beside config.json and its safetensors.
_BESIDE_A_DECODER = (
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "generation_config.json", "chat_template.jinja",
)  # fmt: skip
_WEIGHTS = re.compile(r"model(?:-\d{5}-of-\d{5})?\.safetensors")
_ADAPTER = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OF_A_FOLDER = (".json", ".jinja", ".txt", ".model", ".onnx", ".data")
_CPU = ("cpu",)
_OTHER_DEVICES = ("cuda", "gpu", "dml", "directml", "npu", "qnn", "webgpu", "trtrtx", "openvino")

_WHISPER = ("config.json", "generation_config.json", "tokenizer.json")
_VOCABULARIES = {"vocabulary.txt", "vocabulary.json"}  # beside the weights of CTranslate2

Kind = Literal["gguf", "genai", "encoder", "ranker", "decoder", "whisper", "adapter"]
# Cross-encoders, and what people have trained of a Whisper, by their model_type.
_LIKE_DECODERS: Mapping[str, Kind] = {
    "bert": "ranker",
    "roberta": "ranker",
    "xlm-roberta": "ranker",
    "whisper": "whisper",
}
# What converted models of some kinds do, by the catalog's name for it.
TASKS: Mapping[Kind, str] = {
    "encoder": "embeddings",
    "ranker": "text-ranking",
    "whisper": "automatic-speech-recognition",
}


class HubFile(msgspec.Struct, frozen=True):
    """A file as the hub lists it."""

    path: str
    size: int
    sha256: str = ""  # of files in large storage
    git_sha1: str = ""  # of the others


class Choice(msgspec.Struct, frozen=True):
    """The files of one model. ``reason`` says why these."""

    kind: Kind
    files: tuple[HubFile, ...]  # the first has the weights, or is the folder's configuration
    name: str = ""  # what distinguishes it in the repository: a quant or a folder
    reason: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> str:
        """The folder of the repository that the files are in; empty: its root."""
        if self.kind not in ("genai", "adapter"):
            return ""
        return str(PurePosixPath(self.files[0].path).parent).removeprefix(".")


def choose(files: Sequence[HubFile], part: str = "") -> Choice:
    """The model that ``part`` (a file, a folder, a quant or a pattern) means; empty: the best.

    Raises NotFoundError, which lists what there is, and UnsupportedError.
    """
    choices = [*_genai_folders(files), *_ggufs(files), *_safetensors(files)]
    if not choices:
        raise UnsupportedError(_nothing(files))
    if part:
        named = [choice for choice in choices if _is_meant(choice, part)]
        if not named:
            have = ", ".join(choice.name or choice.files[0].path for choice in choices[:20])
            raise NotFoundError(f"The repository has no '{part}'. It has: {have}")
        choices = named
    best, *others = sorted(choices, key=_preference)
    if others and not best.reason:
        names = ", ".join(other.name for other in others[:5])
        reason = f"the best for this machine; others: {names}"
        best = msgspec.structs.replace(best, reason=f"as named: {part}" if part else reason)
    return best


def of_type(choice: Choice, model_type: str) -> Choice:
    """The choice as its config.json explains it: other models' files look like a decoder's."""
    kind = _LIKE_DECODERS.get(model_type)
    if choice.kind != "decoder" or kind is None:
        return choice
    weights = [file for file in choice.files if _WEIGHTS.fullmatch(file.path)]
    beside = [file for file in choice.files if file not in weights]
    return Choice(kind, (*weights, *beside), choice.name, choice.reason)


def quant_of(path: str) -> str:
    """The quantisation that a file's name tells, in capitals; empty: it tells none."""
    stem = PurePosixPath(path).name.removesuffix(".gguf")
    found = _QUANT.findall(_SPLIT.sub(r"\1", stem))
    return str(found[-1]).upper() if found else ""


def _genai_folders(files: Iterable[HubFile]) -> list[Choice]:
    """Folders that onnxruntime-genai's builder made: with its configuration in them."""
    by_folder: dict[str, list[HubFile]] = defaultdict(list)
    for file in files:
        by_folder[str(PurePosixPath(file.path).parent)].append(file)
    choices = []
    for folder, members in by_folder.items():
        config = [each for each in members if PurePosixPath(each.path).name == GENAI_CONFIG]
        if not config or not any(each.path.endswith(".onnx") for each in members):
            continue
        wanted = [each for each in members if _belongs(each) and each not in config]
        name = "" if folder == "." else folder
        choices.append(Choice("genai", (*config, *wanted), name))
    return choices


def _belongs(file: HubFile) -> bool:
    name = PurePosixPath(file.path).name
    return name.endswith(_OF_A_FOLDER) or ".onnx" in name  # model.onnx_data is called so, too


def _ggufs(files: Iterable[HubFile]) -> list[Choice]:
    """GGUF files; the parts of one that is split are one."""
    # By the name without its part, and the number of parts: some repositories have a file whole
    # and in parts.
    parts: dict[tuple[str, int], list[HubFile]] = defaultdict(list)
    for file in files:
        name = PurePosixPath(file.path).name
        if not name.endswith(".gguf") or any(each in name.lower() for each in _NO_MODEL):
            continue
        stem, total = file.path.removesuffix(".gguf"), 1
        if found := _SPLIT.fullmatch(stem):
            stem, total = found[1], int(found[3])
        parts[stem, total].append(file)
    return [
        Choice("gguf", tuple(sorted(members, key=lambda file: file.path)), quant_of(stem) or stem)
        for (stem, total), members in parts.items()
        if len(members) == total
    ]


def _safetensors(files: Sequence[HubFile]) -> list[Choice]:
    """What the configurations beside the weights say that it is."""
    return _encoders(files) or _whispers(files) or _decoders(files)


def _encoders(files: Iterable[HubFile]) -> list[Choice]:
    """Sentence transformers: safetensors with what their makers publish beside them."""
    by_path = {file.path: file for file in files}
    weights = by_path.get("model.safetensors")
    if weights is None or "modules.json" not in by_path:
        return []
    beside = tuple(by_path[name] for name in _SENTENCES if name in by_path)
    return [Choice("encoder", (weights, *beside), "model.safetensors")]


def _decoders(files: Iterable[HubFile]) -> list[Choice]:
    """Decoders: safetensors with the configuration of transformers beside them."""
    by_path = {file.path: file for file in files}
    weights = [file for file in by_path.values() if _WEIGHTS.fullmatch(file.path)]
    if not weights or "config.json" not in by_path or "modules.json" in by_path:
        return []
    if "model.safetensors.index.json" not in by_path:
        weights = [file for file in weights if file.path == "model.safetensors"]
    beside = (by_path[name] for name in _BESIDE_A_DECODER if name in by_path)
    return [Choice("decoder", (by_path["config.json"], *weights, *beside), "safetensors")]


def _whispers(files: Iterable[HubFile]) -> list[Choice]:
    """Models of speech: as Hugging Face publishes them, and as CTranslate2's converter does."""
    by_path = {file.path: file for file in files}
    beside = tuple(by_path[name] for name in _WHISPER if name in by_path)
    if "tokenizer.json" not in by_path or "config.json" not in by_path:
        return []
    heard = {"preprocessor_config.json", "generation_config.json", "normalizer.json"}
    if heard <= by_path.keys() and "model.safetensors" in by_path:
        weights = "model.safetensors"
    elif _VOCABULARIES & by_path.keys() and "model.bin" in by_path:
        weights = "model.bin"
    else:
        return []
    return [Choice("whisper", (by_path[weights], *beside), weights)]


def _is_meant(choice: Choice, part: str) -> bool:
    wanted = part.strip("/").casefold()
    first = choice.files[0].path
    names = [choice.name, first, PurePosixPath(first).name, *PurePosixPath(first).parts]
    names += [_SPLIT.sub(r"\1", first.removesuffix(".gguf"))] if choice.kind == "gguf" else []
    return any(fnmatchcase(name.casefold(), wanted) for name in names if name)


def _preference(choice: Choice) -> tuple[int, int, int, str]:
    """Sort key: ready ONNX for the CPU, then GGUF by quant, then the rest."""
    if choice.kind == "genai":
        words = set(re.split(r"[^a-z0-9]+", choice.name.lower()))
        device = 0 if words & set(_CPU) or not words & set(_OTHER_DEVICES) else 2
        return (0 if device == 0 else 3, device, choice.size, choice.name)
    if choice.kind == "gguf":
        known = choice.name in _PREFERRED
        return (1, _PREFERRED.index(choice.name) if known else 99, len(choice.files), choice.name)
    return (2, 0, 0, choice.name)


def _nothing(files: Sequence[HubFile]) -> str:
    """Why nothing of a repository can be used, and what can."""
    paths = [file.path.lower() for file in files]
    if _ADAPTER in paths:
        return (
            "It is a LoRA, which is no model by itself. Name the model that it is for: "
            "cupola model import hf:OWNER/NAME --base MODEL"
        )
    if any(path.endswith(".safetensors") for path in paths):
        return (
            "The weights are safetensors of a kind that cannot be converted: beside a decoder's "
            "lies config.json. Look for its GGUF: cupola model search NAME"
        )
    if any(path.endswith(PICKLES) for path in paths):
        return (
            "The repository has its weights as pickle files, which can run code and are never "
            "opened. Look for a GGUF or ONNX of the model: cupola model search NAME"
        )
    if any(path.endswith(".onnx") for path in paths):
        return f"The repository has ONNX files but no {GENAI_CONFIG}, which says how to run them"
    return f"No model is there: no GGUF, no {GENAI_CONFIG}, no safetensors"
