"""The default model with a LoRA, as a service runs it, against a forward pass in NumPy.

The weights have 16 bits on both sides, so that the best token of each place is the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cupola.cache.home import Home
from cupola.cache.install.import_adapter import import_adapter
from cupola.cache.precision import Precision
from tests.cache.convert.reference import Reference
from tests.cache.tiny_adapter import write_adapter
from tests.service.running_service import Service

HEADS, KV_HEADS = 9, 3
LENGTH = 24
QUESTION = "Name three things that one sees at the sea."
PROMPT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
)
PLACES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

Array = npt.NDArray[np.float32]


def place_of(name: str) -> str:
    """Where the hub has a tensor of the file; empty: an adapter does not change it."""
    _, layer, part, *_ = (*name.split("."), "", "")
    return f"model.layers.{layer}.{PLACES[part]}.weight" if part in PLACES else ""


def reordered(name: str, rows: Array, *, to_hub: bool) -> Array:
    """Rows of queries and keys: the file has a rotated pair side by side, the hub half a head
    apart."""
    heads = HEADS if "attn_q" in name else KV_HEADS if "attn_k" in name else 0
    if not heads:
        return rows
    pairs = (-1, 2) if to_hub else (2, len(rows) // heads // 2)
    return rows.reshape(heads, *pairs, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def test_an_answer_is_that_of_the_merged_weights(real_gguf: Path, tmp_path: Path) -> None:
    reference = Reference(real_gguf)
    hub = {
        place_of(name): reordered(name, rows, to_hub=True)
        for name, rows in reference.weights.items()
        if place_of(name)
    }
    merged = write_adapter(tmp_path / "pirate", hub, strength=0.05)
    home = Home(tmp_path / "home")
    model = import_adapter(tmp_path / "pirate", str(real_gguf), home, precision=Precision.FP16)
    with Service(home.root, lean=False, warm_up="no", model="pirate") as service:
        answer = (
            service.ready()
            .openai()
            .chat.completions.create(
                model="pirate",
                messages=[
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": QUESTION},
                ],
                temperature=0,
                max_tokens=LENGTH,
                logprobs=True,
                extra_body={"repetition_penalty": 1},
            )
        )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    ids = {tokenizer.decode([token]): token for token in range(tokenizer.get_vocab_size())}
    said = [ids[each.token] for each in logprobs.content]
    assert len(said) == LENGTH

    prompt = list(tokenizer.encode(PROMPT).ids)
    plain = best(reference, prompt, said)
    for name, rows in list(reference.weights.items()):
        if rows.ndim == 2:
            rows = reordered(name, merged.get(place_of(name), rows), to_hub=False)
            reference.weights[name] = rows.astype(np.float16).astype(np.float32)
    assert best(reference, prompt, said) == said
    assert plain != said  # the adapter matters


def best(reference: Reference, prompt: list[int], said: list[int]) -> list[int]:
    """The best token of each place in ``said``, behind those before it."""
    logits = reference.logits([*prompt, *said[:-1]])[len(prompt) - 1 :]
    return [int(token) for token in logits.argmax(-1)]
