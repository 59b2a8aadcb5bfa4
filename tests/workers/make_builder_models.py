"""Makes tests/workers/data: tiny random-weight models by onnxruntime-genai's own model builder, and
by mobius.

Run by hand, in an environment of its own, when a builder's format should be tested anew:

    pip install torch transformers onnxruntime-genai onnx onnx_ir mobius-onnx
    python tests/workers/make_builder_models.py [FAMILY...]

The first family has a tokenizer, which serves all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

DATA = Path(__file__).parent / "data"
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)
# Gemma 3's builder reads the configuration as transformers 4 had it. MultiHeadAttention is what the
# builder chose before it knew GroupQueryAttention.
BUILDER = """
import os, runpy, sys
import onnxruntime_genai, transformers
sys.path.insert(0, os.path.join(os.path.dirname(onnxruntime_genai.__file__), "models"))
read = transformers.AutoConfig.from_pretrained
def flat(*args, **options):
    config = read(*args, **options)
    rope = getattr(config, "rope_parameters", None) or {}
    if "sliding_attention" in rope:
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]
        config.rope_theta = rope["full_attention"]["rope_theta"]
        config.rope_parameters = rope["full_attention"]
    return config
transformers.AutoConfig.from_pretrained = flat
if os.environ.get("PLAIN_ATTENTION"):
    from builders.base import Model
    Model.is_gqa_supported = Model.is_packed_attn_supported = lambda self: False
runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")
"""
WINDOW = 24  # tokens, where attention slides: far fewer than the tests' texts have
SHORT = 64  # tokens that LongRoPE's first table serves


@dataclass
class Family:
    kind: str  # transformers' name before "Config" and "ForCausalLM"
    options: dict[str, Any] = field(default_factory=dict)
    config: str = ""  # the class, where its name is another
    precisions: tuple[str, ...] = ("fp32", "int4")
    provider: str = "cpu"
    plain: bool = False  # MultiHeadAttention in place of GroupQueryAttention
    mobius: bool = False  # built by mobius, always in float32


SMALL = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
GEMMA3 = SMALL | {
    "sliding_window": WINDOW,
    "query_pre_attn_scalar": 16,
    "layer_types": ["sliding_attention", "full_attention"],
}
FAMILIES = {
    "builder": Family(
        "Llama",
        {
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
    "qwen2": Family("Qwen2", SMALL),
    "qwen3": Family("Qwen3", SMALL),
    "phi3": Family("Phi3", SMALL | {"original_max_position_embeddings": 256}),
    "phi3-long": Family(
        "Phi3",
        SMALL
        | {
            "original_max_position_embeddings": SHORT,
            "rope_parameters": {
                "rope_type": "longrope",
                "type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0 + 0.05 * i for i in range(8)],
                "long_factor": [1.0 + 0.7 * i for i in range(8)],
                "original_max_position_embeddings": SHORT,
            },
        },
    ),
    "gemma": Family("Gemma", SMALL),
    "gemma2": Family("Gemma2", SMALL | {"sliding_window": WINDOW, "query_pre_attn_scalar": 16}),
    "gemma3": Family("Gemma3", GEMMA3, config="Gemma3TextConfig"),
    "mistral": Family(
        "Mistral",
        SMALL | {"sliding_window": WINDOW, "layer_types": ["sliding_attention"] * 2},
    ),
    "directml": Family("Qwen3", SMALL, precisions=("fp16",), provider="dml"),
    "plain": Family("Llama", SMALL, precisions=("fp32",), plain=True),
    "gpt-oss": Family(  # its int4 weights can be built from the original's MXFP4 only
        "GptOss",
        SMALL
        | {
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
            "num_local_experts": 3,
            "num_experts_per_tok": 2,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 2.0,
                "beta_fast": 8.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 128,
            },
        },
        precisions=("fp32",),
    ),
    "mobius-llama": Family("Llama", SMALL, precisions=("fp32",), mobius=True),
    "mobius-qwen3": Family("Qwen3", SMALL, precisions=("fp32",), mobius=True),
    "mobius-gemma3": Family(
        "Gemma3", GEMMA3, config="Gemma3TextConfig", precisions=("fp32",), mobius=True
    ),
}


def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token=SPECIAL[0])
    made.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    made.chat_template = TEMPLATE
    return made


def weights(family: Family, tokens: PreTrainedTokenizerFast, target: Path) -> None:
    """A model of the family with random weights, as transformers saves it."""
    torch.manual_seed(0)
    config = getattr(transformers, family.config or f"{family.kind}Config")(
        **{
            "num_hidden_layers": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": tokens.eos_token_id,
            "pad_token_id": None,
            "initializer_range": 0.3,  # wide, so that the best token is clear and texts differ
        }
        | family.options
    )
    getattr(transformers, f"{family.kind}ForCausalLM")(config).save_pretrained(target)
    tokens.save_pretrained(target)


def build(source: Path, target: Path, precision: str, cache: Path, family: Family) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if family.mobius:
        command = [sys.executable, "-m", "mobius", "build", "--config", source.name, str(target)]
        command += ["--ep", "cpu", "--runtime", "ort-genai"]
        subprocess.run(command, check=True, cwd=source.parent)  # the graph is called by its path
        return
    command = [sys.executable, "-c", BUILDER, "-m", str(source), "-o", str(target)]
    command += ["-p", precision, "-e", family.provider, "-c", str(cache)]
    if precision == "int4":
        command += ["--extra_options", "int4_accuracy_level=4", "int4_block_size=32"]
    plain = {"PLAIN_ATTENTION": "1" if family.plain else ""}
    subprocess.run(command, check=True, env=os.environ | plain)


def main() -> None:
    tokens = tokenizer()
    for name in sys.argv[1:] or FAMILIES:
        family = FAMILIES[name]
        with tempfile.TemporaryDirectory() as work:
            source = Path(work) / "hf"
            weights(family, tokens, source)
            for precision in family.precisions:
                target = DATA / f"{name}-{precision}"
                build(source, target, precision, Path(work) / "cache", family)
                if name != next(iter(FAMILIES)):
                    for file in (*target.glob("tokenizer*"), *target.glob("chat_template*")):
                        file.unlink()


if __name__ == "__main__":
    main()
