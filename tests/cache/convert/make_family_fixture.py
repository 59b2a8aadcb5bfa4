"""Writes ``data/families.json``: what transformers computes for the tiny families.

pip install torch transformers
python -m tests.cache.convert.make_family_fixture
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
import transformers

from tests.cache.convert.tiny_family import FAMILIES, TEXTS

FILE = Path(__file__).parents[1] / "data" / "families.json"
KEPT = 24  # logits of the last token


def main() -> None:
    found = {}
    for name, family in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            place = family.write_folder(Path(folder) / "model", kind="F32").parent
            model = transformers.AutoModelForCausalLM.from_pretrained(
                place, dtype=torch.float32, attn_implementation="eager"
            )
            with torch.no_grad():
                logits = [model(torch.tensor([ids])).logits[0, -1, :KEPT] for ids in TEXTS]
        found[name] = [[round(float(each), 5) for each in row] for row in logits]
    FILE.write_text(json.dumps(found) + "\n", "utf-8")


if __name__ == "__main__":
    main()
