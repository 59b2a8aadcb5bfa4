"""Writes ``data/tokens.json``: the corpus as llama.cpp tokenizes it. Not run by the tests.

    pip install gguf numpy xllamacpp
    python tests/cache/convert/tokenizer/make_tokenizer_fixture.py SmolLM2-135M-Instruct.Q4_1.gguf

llama.cpp reads the vocabulary and merges of the GGUF itself and shares no code with the
``tokenizers`` library. For the other pre-tokenizers it is given the same vocabulary in a file with
tiny random weights, which names another pre-tokenizer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp  # type: ignore[import-not-found]  # no dependency of the tests

DATA = Path(__file__).parents[2] / "data"
PRE_TOKENIZERS = ("smollm", "gpt-2", "llama-bpe", "qwen2", "tekken")
HIDDEN, HEADS = 32, 2


def main(source: Path) -> None:
    texts = json.loads((DATA / "texts.json").read_text())
    reader = gguf.GGUFReader(source)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE_TOKENIZERS:
            path = Path(folder) / f"{pre}.gguf"
            write_model(reader, pre, path)
            found[pre] = tokenize(path, texts)
        exact = tokenize(source, texts)
    if exact != found["smollm"]:
        raise SystemExit("the copied vocabulary is not the file's own")
    lines = (f'"{pre}": {json.dumps(ids)}' for pre, ids in found.items())
    (DATA / "tokens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write_model(reader: gguf.GGUFReader, pre: str, path: Path) -> None:
    """A model of one layer and the reader's vocabulary, which says it was cut by ``pre``."""

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(field("tokens"))
    writer.add_token_types(field("token_type"))
    writer.add_token_merges(field("merges"))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (len(field("tokens")), HIDDEN), "output_norm": (HIDDEN,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        shapes[f"blk.0.{name}"] = (HIDDEN, HIDDEN)
    shapes |= {"blk.0.attn_norm": (HIDDEN,), "blk.0.ffn_norm": (HIDDEN,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokenize(path: Path, texts: list[str]) -> list[list[int]]:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 512
    params.warmup = False
    server = xllamacpp.Server(params)
    ids = []
    for text in texts:
        body = {"content": text, "add_special": False, "parse_special": True}
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            ids.append(json.load(answer)["tokens"])
    return ids


if __name__ == "__main__":
    main(Path(sys.argv[1]))
