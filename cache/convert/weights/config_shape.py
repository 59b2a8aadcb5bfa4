"""The shape of a decoder, from the config.json of its repository.

Format: https://huggingface.co/docs/transformers, the page of each model. Version 5 of transformers
moved what belongs to the rotary positions into ``rope_parameters``; both forms are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cupola.cache.convert.formats.json_file import JsonObject
from cupola.cache.convert.weights.decoder_shape import (
    MAX_HEAD_SIZE,
    MAX_LAYERS,
    DecoderShape,
    Traits,
    attentions,
)
from cupola.cache.convert.weights.rope import (
    Array,
    Rope,
    frequencies,
    llama3_divisors,
    long_amplitude,
    yarn,
    yarn_amplitude,
)
from cupola.cache.errors import BrokenFileError, UnsupportedError

_SLIDING, _FULL = "sliding_attention", "full_attention"


def config_shape(config: JsonObject, traits: Traits) -> DecoderShape:
    """The shape that ``config`` describes.

    Raises BrokenFileError for missing or impossible sizes, UnsupportedError for mathematics that no
    block implements.
    """
    with np.errstate(all="ignore"):  # what is not finite is refused
        return _Reading(config, traits).shape()


class _Reading:
    def __init__(self, config: JsonObject, traits: Traits) -> None:
        self._config = config
        self._traits = traits

    def shape(self) -> DecoderShape:
        get = self._config.get
        self._refuse_unknown()
        hidden, heads = get("hidden_size", int), get("num_attention_heads", int)
        head_size = get("head_dim", int, hidden // max(heads, 1))
        layers, context = get("num_hidden_layers", int), get("max_position_embeddings", int)
        for key, value, limit in (
            ("num_hidden_layers", layers, MAX_LAYERS),
            ("head_dim", head_size, MAX_HEAD_SIZE),
        ):
            if not 0 < value <= limit:
                raise BrokenFileError(f"{self._config.name}: '{key}' is {value}")
        window = self._window()
        of_layers = attentions(
            layers,
            self._traits,
            window if window < context else 0,
            full=self._full_layers(layers),
            rotated=self._rotated_layers(layers),
        )
        ropes = {"global": self._rope(head_size, context, local=False)}
        if any(each.rope == "local" for each in of_layers):
            ropes["local"] = self._rope(head_size, context, local=True)
        score_size = self._number("query_pre_attn_scalar", float(head_size))
        shape = DecoderShape(
            layers=layers,
            heads=heads,
            kv_heads=get("num_key_value_heads", int, heads),
            head_size=head_size,
            hidden=hidden,
            intermediate=get("intermediate_size", int),
            vocabulary=get("vocab_size", int),
            context_length=context,
            norm_epsilon=get("rms_norm_eps", float),
            ropes=ropes,
            attentions=of_layers,
            score_scale=self._number("attention_multiplier", max(score_size, 1.0) ** -0.5),
            embedding_scale=self._number("embedding_multiplier", self._embedding_scale(hidden)),
            residual_scale=self._number("residual_multiplier", 1.0),
            logit_divisor=self._number("logits_scaling", 1.0) or 1.0,
            score_cap=self._number("attn_logit_softcapping", 0.0),
            logit_cap=self._number("final_logit_softcapping", 0.0),
        )
        shape.check(self._config.name)
        return shape

    def _number(self, key: str, default: float) -> float:
        return self._config.get(key, float, default)

    def _embedding_scale(self, hidden: int) -> float:
        return hidden**0.5 if self._traits.scaled_embedding else 1.0

    def _window(self) -> int:
        if not self._config.get("use_sliding_window", bool, True):
            return 0
        return self._config.get("sliding_window", int, 0)

    def _full_layers(self, layers: int) -> list[bool] | None:
        """The layers that see all tokens; None: the config does not say it of single layers."""
        kinds = self._config.optional("layer_types", list)
        if kinds is None:
            every = self._config.optional("sliding_window_pattern", int)
            if every is not None:
                return [every > 0 and (n + 1) % every == 0 for n in range(layers)]
            if self._config.values.get("use_sliding_window"):  # Qwen: the first layers see all
                first = self._config.get("max_window_layers", int, layers)
                return [n < first for n in range(layers)]
            return None
        if unknown := sorted({str(kind) for kind in kinds} - {_SLIDING, _FULL}):
            raise UnsupportedError(f"{self._config.name}: layers of the type {', '.join(unknown)}")
        if len(kinds) != layers:
            raise BrokenFileError(f"{self._config.name}: 'layer_types' has {len(kinds)} layers")
        return [kind == _FULL for kind in kinds]

    def _rotated_layers(self, layers: int) -> list[bool] | None:
        listed = self._config.optional("no_rope_layers", list)
        if listed is None:
            return None
        if len(listed) != layers:
            raise BrokenFileError(f"{self._config.name}: 'no_rope_layers' has {len(listed)} layers")
        return [bool(each) for each in listed]  # 1: the layer has positions, whatever the name says

    def _rope(self, head_size: int, context: int, *, local: bool) -> Rope:
        parameters = self._config.inside("rope_parameters")
        by_layer_kind = {_SLIDING, _FULL} & parameters.values.keys()
        if by_layer_kind:
            parameters = parameters.inside(_SLIDING if local else _FULL)
        base = self._config.get("rope_theta", float, 10000.0)
        if local and not by_layer_kind:
            base = self._number("rope_local_base_freq", self._traits.local_rope_base)
        else:
            base = parameters.get("rope_theta", float, base)
        share = parameters.get(
            "partial_rotary_factor", float, self._number("partial_rotary_factor", 1.0)
        )
        size = int(head_size * share)
        if not 0 < size <= head_size or size % 2:
            raise UnsupportedError(f"{self._config.name}: {size} rotary channels of {head_size}")
        plain = frequencies(base, size)
        if parameters.values:
            return self._scaled(plain, base, parameters, context)
        if local:  # its texts are short: they are not scaled
            return Rope(plain)
        return self._scaled(plain, base, self._config.inside("rope_scaling"), context)

    def _scaled(self, plain: Array, base: float, scaling: JsonObject, context: int) -> Rope:
        kind = scaling.get("rope_type", str, scaling.get("type", str, "default"))
        match kind:
            case "default":
                return Rope(plain)
            case "linear":
                return Rope(plain / self._positive(scaling, "factor"))
            case "llama3":
                low = self._positive(scaling, "low_freq_factor")
                high = self._positive(scaling, "high_freq_factor")
                trained = scaling.get("original_max_position_embeddings", int)
                if high <= low:
                    raise BrokenFileError(f"{scaling.name}: 'high_freq_factor' is too low")
                factor = self._positive(scaling, "factor")
                return Rope(plain / llama3_divisors(plain, factor, low, high, trained))
            case "longrope" | "su":
                return self._long(plain, scaling, context)
            case "yarn":
                return self._yarn(plain, base, scaling, context)
        raise UnsupportedError(f"{self._config.name}: rope scaling '{kind}'")

    def _yarn(self, plain: Array, base: float, scaling: JsonObject, context: int) -> Rope:
        factor = self._positive(scaling, "factor")
        amplitude = scaling.get("attention_factor", float, 0.0)
        whole, part = (scaling.get(key, float, 0.0) for key in ("mscale", "mscale_all_dim"))
        if not amplitude and whole and part:
            amplitude = yarn_amplitude(factor, whole) / yarn_amplitude(factor, part)
        if not scaling.get("truncate", bool, True):
            raise UnsupportedError(f"{self._config.name}: rope scaling 'yarn' without 'truncate'")
        return yarn(
            plain,
            base,
            factor,
            scaling.get("original_max_position_embeddings", int, context),
            fast=scaling.get("beta_fast", float, 32.0),
            slow=scaling.get("beta_slow", float, 1.0),
            amplitude=amplitude,
        )

    def _long(self, plain: Array, scaling: JsonObject, context: int) -> Rope:
        short, long = (
            self._factors(scaling.get(name, list), len(plain), name)
            for name in ("short_factor", "long_factor")
        )
        key = "original_max_position_embeddings"
        trained = scaling.optional(key, int) or self._config.get(key, int, context)
        if trained < 1:
            raise BrokenFileError(f"{self._config.name}: '{key}' is {trained}")
        given = scaling.optional("attention_factor", float)
        amplitude = given or long_amplitude(context, max(trained, 2))
        if trained >= context:
            return Rope(plain / short, amplitude)
        return Rope(plain / short, amplitude, plain / long, trained)

    def _factors(self, values: list[Any], size: int, name: str) -> Array:
        if len(values) != size or not all(type(each) in (int, float) and each for each in values):
            raise BrokenFileError(f"{self._config.name}: '{name}' is no list of {size} numbers")
        return np.array(values, np.float64)

    def _positive(self, scaling: JsonObject, key: str) -> float:
        value = scaling.get(key, float)
        if not 0 < value < float("inf"):
            raise BrokenFileError(f"{scaling.name}: '{key}' is {value}")
        return value

    def _refuse_unknown(self) -> None:
        config = self._config
        if config.values.get("quantization_config"):
            method = config.inside("quantization_config").values.get("quant_method", "unknown")
            raise UnsupportedError(
                f"The weights are quantized ({method}), and safetensors of that kind cannot be "
                "converted. Take the repository of the model itself, or a GGUF"
            )
        if config.values.get("use_bidirectional_attention"):
            raise UnsupportedError(f"{config.name}: its tokens also see those behind them")
        known = self._traits.activations
        activation = config.get("hidden_activation", str, config.get("hidden_act", str, known[0]))
        if activation not in known:
            raise UnsupportedError(f"{config.name}: the activation '{activation}'")
