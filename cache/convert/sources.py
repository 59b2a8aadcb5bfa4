"""What a conversion reads: a GGUF, or a folder of safetensors as the hub has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cupola.cache.convert.families import Family, family_of_config, family_of_gguf
from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.formats.gguf_tensor import GgufTensor
from cupola.cache.convert.formats.json_file import JsonObject, read_json
from cupola.cache.convert.formats.safetensors_file import SafetensorsTensor, read_safetensors
from cupola.cache.convert.tokenizer.folder_tokenizer import FolderTokenizer
from cupola.cache.convert.tokenizer.model_tokenizer import ModelTokenizer
from cupola.cache.convert.tokenizer.tokenizer_files import TokenizerFiles
from cupola.cache.convert.weights.config_shape import config_shape
from cupola.cache.convert.weights.gguf_shape import ROPE_TENSORS, gguf_shape
from cupola.cache.convert.weights.lora import read_lora
from cupola.cache.convert.weights.tensor_names import GGUF, transformers_names
from cupola.cache.convert.weights.tensor_weights import TensorWeights
from cupola.cache.errors import BrokenFileError
from cupola.cache.precision import Precision

CONFIG = "config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_PARTS = 999
_FOUR_BITS = 5.1  # with scales and offsets: Q4_1 has 5
# Buffers that old repositories have beside the weights.
_BUFFERS = (".rotary_emb.inv_freq", ".attention.bias", ".masked_bias")


@dataclass(frozen=True, slots=True)
class Source:
    """A decoder in a file or a folder."""

    family: Family
    weights: TensorWeights
    tokenizer: ModelTokenizer
    precision: Precision  # that suits what is stored
    coded: bool = False  # most weights of the layers are stored in codes that can stay


def open_source(path: Path, adapter: Path | None = None) -> Source:
    """The decoder in the GGUF ``path``, or in the folder of the config.json ``path``.

    ``adapter``: the folder of a LoRA, which is added to the weights. Raises UnsupportedError,
    BrokenFileError, OSError.
    """
    source = open_folder(path.parent) if path.name == CONFIG else _open_gguf(path)
    if adapter is None:
        return source
    source.weights.adapt(read_lora(adapter))
    return replace(source, coded=False)


def _open_gguf(path: Path) -> Source:
    gguf = GgufFile(path)
    family, weights = read_decoder(gguf)
    tokenizer = TokenizerFiles(gguf, weights.shape.vocabulary)
    return Source(family, weights, tokenizer, stored_precision(gguf), has_codes(gguf))


def read_decoder(gguf: GgufFile) -> tuple[Family, TensorWeights]:
    """The family of a file, and its weights.

    Raises UnsupportedError for an unknown family or unknown mathematics, BrokenFileError for
    damaged metadata.
    """
    family = family_of_gguf(gguf.path, gguf.architecture)
    tensors = {name: each for name, each in gguf.tensors.items() if name not in ROPE_TENSORS}
    weights = TensorWeights(
        gguf.path,
        tensors,
        GGUF,
        gguf_shape(gguf, family.traits),
        tied="output.weight" not in tensors,
        interleaved_rotary=family.traits.interleaved_rotary,
    )
    return family, weights


def open_folder(folder: Path) -> Source:
    """The decoder in ``folder``: config.json, safetensors, tokenizer.json and their company.

    Raises UnsupportedError for an unknown family or unknown mathematics, BrokenFileError for
    damaged files, OSError.
    """
    config = JsonObject(CONFIG, read_json(folder / CONFIG))
    family = family_of_config(config)
    traits = family.traits
    tensors = _tensors_of(folder)
    tied = config.get("tie_word_embeddings", bool, traits.tied) or "lm_head.weight" not in tensors
    if tied:  # some repositories have the head all the same
        tensors.pop("lm_head.weight", None)
    weights = TensorWeights(
        folder.name,
        tensors,
        transformers_names(post_norms=traits.post_norms),
        config_shape(config, traits),
        tied=tied,
        norms_from_one=traits.norms_from_one,
    )
    tokenizer = FolderTokenizer(folder, config, weights.shape.vocabulary)
    return Source(family, weights, tokenizer, Precision.INT8)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model, in one file or in those that the index names.

    Raises BrokenFileError, OSError.
    """
    index = folder / _INDEX
    if not index.is_file():
        if not (folder / _WEIGHTS).is_file():
            raise BrokenFileError(f"{folder.name} has neither {_WEIGHTS} nor {_INDEX}")
        return [folder / _WEIGHTS]
    listed: Mapping[str, object] = JsonObject(_INDEX, read_json(index)).get("weight_map", dict)
    names = sorted({str(name) for name in listed.values()})
    if not 0 < len(names) <= _MAX_PARTS:
        raise BrokenFileError(f"{_INDEX} names {len(names)} files")
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise BrokenFileError(f"{_INDEX} names '{name}', which is no file beside it")
        if not (folder / name).is_file():
            raise BrokenFileError(f"{name} is missing: it is a part of the same model")
    return [folder / name for name in names]


def _tensors_of(folder: Path) -> dict[str, SafetensorsTensor]:
    tensors: dict[str, SafetensorsTensor] = {}
    for path in weight_files(folder):
        part = read_safetensors(path)
        if twice := part.keys() & tensors.keys():
            raise BrokenFileError(f"{path.name} has the tensor '{min(twice)}' a second time")
        tensors |= part
    return {name: each for name, each in tensors.items() if not name.endswith(_BUFFERS)}


def stored_precision(gguf: GgufFile) -> Precision:
    """INT4 if most weights of the layers are of few bits, and four hold them; else INT8."""
    few = _most(gguf, lambda tensor: tensor.bits_per_weight < _FOUR_BITS and tensor.is_even)
    return Precision.INT4 if few else Precision.INT8


def has_codes(gguf: GgufFile) -> bool:
    """Whether most weights of the layers can stay in the four bits that they have."""
    return _most(gguf, lambda tensor: tensor.coding is not None)


def _most(gguf: GgufFile, suits: Callable[[GgufTensor], bool]) -> bool:
    sizes = {True: 0, False: 0}
    for name, tensor in gguf.tensors.items():
        if name.startswith("blk.") and len(tensor.shape) == 2:
            sizes[suits(tensor)] += math.prod(tensor.shape)
    return sizes[True] > sizes[False]
