"""A LoRA adapter of PEFT or of onnxruntime, and a tensor with what an adapter adds to it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cupola.cache.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ONNX_ADAPTER
from cupola.cache.convert.formats.gguf_blocks import CodedRows
from cupola.cache.convert.formats.json_file import JsonObject, read_json
from cupola.cache.convert.formats.onnx_adapter import adapter_parameters
from cupola.cache.convert.formats.safetensors_file import read_safetensors
from cupola.cache.convert.formats.tensor import Tensor
from cupola.cache.errors import BrokenFileError, UnsupportedError

_PREFIX = "base_model.model."
_PLACE = re.compile(r"(.*?layers\.(\d+)\.(\w+\.\w+))\.lora_([AB])\.weight")
# As onnxruntime-genai's builder names them, and Olive.
_ONNX_PLACE = re.compile(
    r"(?:.*\.)?layers\.(\d+)\.(self_attn|attn|mlp)\.(\w+)\.lora_([AB])(?:\.MatMul)?\.weight"
)
# What changes more than a product of two matrices can say.
_SWITCHES = ("use_dora", "fan_in_fan_out", "lora_bias")

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LowRank:
    """The product ``up @ down``, which is added to a matrix ``[N, K]``. The scale is in ``up``."""

    up: Array  # [N, rank]
    down: Array  # [rank, K]

    def reordered(self, order: npt.NDArray[np.int64]) -> LowRank:
        """Its row ``i`` is now row ``order[i]``."""
        up = np.empty_like(self.up)
        up[order] = self.up
        return replace(self, up=up)


Place = tuple[int, str]  # number of a layer, and a name in it: "self_attn.q_proj"


def read_lora(path: Path) -> Mapping[Place, LowRank]:
    """What an adapter adds, by places in a repository of the hub.

    ``path``: PEFT's folder, or an ``.onnx_adapter``. Raises UnsupportedError for an adapter of
    another kind, BrokenFileError, OSError.
    """
    return _read_onnx(path) if path.suffix == ONNX_ADAPTER else _read_folder(path)


def _read_onnx(path: Path) -> Mapping[Place, LowRank]:
    """Its matrices are those of MatMul: transposed, with the scale in the second."""
    halves: dict[Place, dict[str, Array]] = {}
    for name, values in adapter_parameters(path).items():
        found = _ONNX_PLACE.fullmatch(name)
        if found is None or values.ndim != 2:
            raise UnsupportedError(
                f"The adapter changes '{name}'. Only linear layers inside the decoder's layers can "
                "be merged"
            )
        layer, block, module, half = found.groups()
        place = (int(layer), f"{'self_attn' if block == 'attn' else block}.{module}")
        halves.setdefault(place, {})[half] = values.T.astype(np.float32)
    if not halves:
        raise BrokenFileError(f"{path.name} is empty")
    return {place: _joined(place, each, None) for place, each in halves.items()}


def _read_folder(folder: Path) -> Mapping[Place, LowRank]:
    config = JsonObject(ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG))
    _refuse_other_kinds(config)
    tensors = read_safetensors(folder / ADAPTER_WEIGHTS)
    halves: dict[Place, dict[str, Array]] = {}
    scales: dict[Place, float] = {}
    ranks: dict[Place, float] = {}
    for name, tensor in tensors.items():
        found = _PLACE.fullmatch(name.removeprefix(_PREFIX))
        if found is None or len(tensor.shape) != 2:
            raise UnsupportedError(
                f"The adapter changes '{name}'. Only linear layers inside the decoder's layers can "
                "be merged"
            )
        module, layer, inside, half = found.groups()
        place = (int(layer), inside)
        halves.setdefault(place, {})[half] = tensor.rows()
        scales[place] = _number(config, "lora_alpha", "alpha_pattern", module)
        ranks[place] = _number(config, "r", "rank_pattern", module)
    if not halves:
        raise BrokenFileError(f"{ADAPTER_WEIGHTS} is empty")
    rooted = config.get("use_rslora", bool, False)
    merged = {place: _joined(place, halves[place], scales[place], rooted) for place in halves}
    for (layer, inside), change in merged.items():
        if (rank := len(change.down)) != (told := ranks[layer, inside]):
            raise BrokenFileError(
                f"{ADAPTER_CONFIG} says rank {told:g} for {inside} of layer {layer}, and its "
                f"matrices have rank {rank}"
            )
    return merged


def _refuse_other_kinds(config: JsonObject) -> None:
    kind = config.get("peft_type", str)
    if kind != "LORA":
        raise UnsupportedError(f"The adapter is of the kind {kind}. Only LORA can be merged")
    for switch in _SWITCHES:
        if config.get(switch, bool, False):
            raise UnsupportedError(f"The adapter has '{switch}', which cannot be merged")
    if config.get("bias", str, "none") != "none":
        raise UnsupportedError("The adapter changes biases, which cannot be merged")
    if config.values.get("modules_to_save"):
        raise UnsupportedError("The adapter replaces whole layers ('modules_to_save')")


def _number(config: JsonObject, key: str, patterns_key: str, module: str) -> float:
    """What ``key`` says, or for this module a pattern."""
    patterns: dict[str, object] = config.get(patterns_key, dict, {})
    for pattern, number in patterns.items():
        # PEFT's patterns match the end of a name. They are names, mostly; no other is needed.
        if module == pattern or module.endswith(f".{pattern}"):
            if not isinstance(number, int | float):
                raise BrokenFileError(f"{ADAPTER_CONFIG}: {patterns_key} has no number")
            return float(number)
    return config.get(key, float)


def _joined(
    place: Place, halves: Mapping[str, Array], alpha: float | None, rooted: bool = False
) -> LowRank:
    """``alpha``: None: the matrices are scaled. ``rooted``: it is over the root of the rank."""
    up, down = halves.get("B"), halves.get("A")
    if up is None or down is None or up.shape[1] != down.shape[0] or not down.shape[0]:
        layer, inside = place
        raise BrokenFileError(f"The adapter's two matrices for {inside} of layer {layer} differ")
    rank = down.shape[0]
    scale = 1.0 if alpha is None else alpha / (math.sqrt(rank) if rooted else rank)
    return LowRank(up * np.float32(scale), down)


@dataclass(frozen=True, slots=True)
class AdaptedTensor:
    """A tensor of a file, and what an adapter adds to it. It has no coding any more."""

    base: Tensor
    change: LowRank
    coding: None = None

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def kind_name(self) -> str:
        return self.base.kind_name

    @property
    def row_count(self) -> int:
        return self.base.row_count

    @property
    def row_bytes(self) -> int:
        return self.base.row_bytes

    def rows(self, start: int = 0, stop: int | None = None) -> Array:
        """See ``Tensor``. The sum is made in float32, before any rounding."""
        added: Array = self.change.up[start:stop] @ self.change.down
        values: Array = self.base.rows(start, stop) + added
        if not np.isfinite(values).all():
            raise BrokenFileError(f"The adapter makes values of '{self.name}' that are not finite")
        return values

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        raise NotImplementedError  # there is no coding

    def cut(self, start: int, stop: int) -> AdaptedTensor:
        """See ``Tensor``."""
        change = replace(self.change, up=self.change.up[start:stop])
        return replace(self, base=self.base.cut(start, stop), change=change)
