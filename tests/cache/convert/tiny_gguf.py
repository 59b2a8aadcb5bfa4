"""A GGUF of a decoder so small that a test can convert it in milliseconds. Weights are random."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType

from tests.cache.convert.k_quants import quantize_q4_k

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyModel:
    """What the file is to hold; ``write`` makes it."""

    architecture: str = "llama"
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 96
    context: int = 128
    tied: bool = True
    biases: bool = False
    head_norms: bool = False
    head_size: int = 0  # 0: the hidden size over the heads
    rope_factors: bool = False
    kind: GGMLQuantizationType = GGMLQuantizationType.F32
    kinds: dict[str, GGMLQuantizationType] = field(default_factory=dict)  # by a part of a name
    seed: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)  # added or put in place of ours
    extra_tensors: tuple[str, ...] = ()
    missing_tensors: tuple[str, ...] = ()

    @property
    def tokens(self) -> list[str]:
        return [*SPECIAL, *_byte_tokens(), *(merge.replace(" ", "") for merge in MERGES)]

    @property
    def vocabulary(self) -> int:
        return len(self.tokens)

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in {**self._metadata(), **self.metadata}.items():
            _add(writer, key, value)
        for name, values in self.tensors().items():
            if values.ndim == 2:
                kind = next((k for part, k in self.kinds.items() if part in name), self.kind)
                writer.add_tensor(name, _stored(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights before they are stored, by their names in the file."""
        random = np.random.default_rng(self.seed)
        head_size = self.head_size or self.hidden // self.heads
        rows, kv_rows = self.heads * head_size, self.kv_heads * head_size
        shapes: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (self.vocabulary, self.hidden),
            "output_norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["output.weight"] = (self.vocabulary, self.hidden)
        if self.rope_factors:
            shapes["rope_freqs.weight"] = (head_size // 2,)
        for layer in range(self.layers):
            at = f"blk.{layer}."
            shapes |= {
                f"{at}attn_norm.weight": (self.hidden,),
                f"{at}attn_q.weight": (rows, self.hidden),
                f"{at}attn_k.weight": (kv_rows, self.hidden),
                f"{at}attn_v.weight": (kv_rows, self.hidden),
                f"{at}attn_output.weight": (self.hidden, rows),
                f"{at}ffn_norm.weight": (self.hidden,),
                f"{at}ffn_gate.weight": (self.intermediate, self.hidden),
                f"{at}ffn_up.weight": (self.intermediate, self.hidden),
                f"{at}ffn_down.weight": (self.hidden, self.intermediate),
            }
            if self.biases:
                shapes |= {
                    f"{at}attn_q.bias": (rows,),
                    f"{at}attn_k.bias": (kv_rows,),
                    f"{at}attn_v.bias": (kv_rows,),
                }
            if self.head_norms:
                shapes |= {f"{at}attn_{which}_norm.weight": (head_size,) for which in "qk"}
        shapes |= {name: (self.hidden,) for name in self.extra_tensors}
        values = {}
        for name, shape in shapes.items():
            one = random.standard_normal(shape, dtype=np.float32)
            if name in self.missing_tensors:
                continue
            if "norm" in name or "freqs" in name:
                values[name] = np.float32(1) + np.float32(0.1) * np.abs(one)
            elif name.endswith("bias") or name.startswith("token"):
                values[name] = one
            else:
                values[name] = one * np.float32(shape[-1] ** -0.5)
        return values

    def _metadata(self) -> dict[str, Any]:
        at = self.architecture
        sizes = {f"{at}.attention.{each}_length": self.head_size for each in ("key", "value")}
        return (sizes if self.head_size else {}) | {
            "general.name": "Tiny Model",
            f"{at}.context_length": self.context,
            f"{at}.embedding_length": self.hidden,
            f"{at}.block_count": self.layers,
            f"{at}.feed_forward_length": self.intermediate,
            f"{at}.attention.head_count": self.heads,
            f"{at}.attention.head_count_kv": self.kv_heads,
            f"{at}.attention.layer_norm_rms_epsilon": 1e-5,
            f"{at}.rope.freq_base": 10000.0,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.token_type": [3] * len(SPECIAL)
            + [1] * (self.vocabulary - len(SPECIAL)),
            "tokenizer.ggml.merges": list(MERGES),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.chat_template": CHAT_TEMPLATE,
        }


def _stored(values: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[Any]:
    if kind is GGMLQuantizationType.Q4_K:
        return quantize_q4_k(values)
    if kind.name.startswith("IQ"):  # the library reads them, and writes none: all weights are alike
        block, size = gguf.GGML_QUANT_SIZES[kind]
        return np.zeros((len(values), values.shape[1] // block * size), np.uint8)
    return gguf.quants.quantize(values, kind)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if key == "general.architecture":
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _byte_tokens() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    by_byte = {byte: chr(byte) for byte in printable}
    by_byte |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [by_byte[byte] for byte in range(256)]
