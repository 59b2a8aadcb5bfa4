"""What clients are told of an error has no paths of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.cache.error_text import without_paths

MODEL = Path("/home/ann b/.foundry/cache/models/Maker/tiny-1")
LINK = "see https://onnxruntime.ai/docs/x/y.html"


@pytest.mark.parametrize("root", ["/tmp", "/cache", "/data/tmp", "/a b", "/tmp/cache"])
def test_the_names_of_folders_above_come_again_below(root: str) -> None:
    folder = Path(root) / "home"
    file = folder / "cache" / "tmp" / "data" / "tmp" / "a b" / "x.gguf"
    assert without_paths(f"{file} is damaged", folder) == f"{file.relative_to(root)} is damaged"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(f"{MODEL}/model.onnx is damaged"), "tiny-1/model.onnx is damaged"),
        (ValueError(f'path: "{MODEL}/model.onnx.data"'), 'path: "tiny-1/model.onnx.data"'),
        (ValueError(f"folder '{MODEL}'"), "folder 'tiny-1'"),
        (ValueError(f"in {MODEL.parent.parent}/Other/big-1"), "in Other/big-1"),
        (ValueError("open(/etc/ssl/private.pem) failed"), "open(private.pem) failed"),
        (ValueError("/usr/lib/libcuda.so.1: cannot open"), "libcuda.so.1: cannot open"),
        (ValueError("at /onnxruntime_src/core/graph.cc:210"), "at graph.cc:210"),
        (ValueError(r"C:\Users\ann\models\m.onnx is gone"), "m.onnx is gone"),
        (ValueError(r"\\server\share\m.onnx is gone"), "m.onnx is gone"),
        (ValueError("in /var/lib/models/ nothing"), "in (a folder) nothing"),
        (FileNotFoundError(2, "No such file", f"{MODEL}/tokenizer.json"), None),
        (ValueError(LINK), LINK),
        (ValueError("12 tokens/s, a/b, 3 / 4"), "12 tokens/s, a/b, 3 / 4"),
        (ValueError("node /model/layers.0 has no input"), "node layers.0 has no input"),
    ],
)
def test_without_paths(error: Exception, expected: str | None) -> None:
    assert without_paths(error, MODEL) == (expected or "tokenizer.json: No such file")
