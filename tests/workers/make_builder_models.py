"""Makes tests/workers/data: tiny random-weight models by onnxruntime-genai's own model builder.

Run by hand, in an environment of its own, when the builder's format should be tested anew:

    pip install torch transformers onnxruntime-genai onnx onnx_ir
    python tests/workers/make_builder_models.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DATA = Path(__file__).parent / "data"
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token=SPECIAL[0])
    made.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    made.chat_template = TEMPLATE
    return made


def main() -> None:
    torch.manual_seed(0)
    tokens = tokenizer()
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokens.eos_token_id,
        initializer_range=0.3,  # wide, so that the best token is clear and texts differ
    )
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "hf"
        LlamaForCausalLM(config).save_pretrained(source)
        tokens.save_pretrained(source)
        for precision, extra in (
            ("fp32", []),
            ("int4", ["int4_accuracy_level=4", "int4_block_size=32"]),
        ):
            target = DATA / f"builder-{precision}"
            shutil.rmtree(target, ignore_errors=True)
            command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
            command += ["-m", str(source), "-o", str(target), "-p", precision, "-e", "cpu"]
            command += ["-c", str(Path(work) / "cache")]
            command += ["--extra_options", *extra] if extra else []
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
