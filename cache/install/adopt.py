"""A folder that onnxruntime-genai's builder, or another program, made becomes a model as it is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.errors import BrokenFileError
from cupola.cache.home import Home
from cupola.cache.install.building import put_in_place
from cupola.cache.model_address import safe
from cupola.cache.model_config import described_by_folder
from cupola.cache.source_note import SourceNote
from cupola.cache.staging import staging
from cupola.cache.store import INFERENCE_MODEL, CachedModel, ModelCache
from cupola.cache.system.digests import write_model_digests

_SKIPPED = (".lock", ".part", ".part.json", ".tmp")
_VERSION = re.compile(r":\d+$")


def adopt(folder: Path, variant: ModelVariant, home: Home, note: SourceNote | None) -> CachedModel:
    """Makes ``variant`` of the files in ``folder``, which stay there.

    Raises BrokenFileError when it is no model, OSError.
    """
    with staging(home) as work:
        built = work / "model"
        _copy(folder, built)
        name = {"Name": variant.id, "Alias": variant.alias, "DisplayName": variant.display_name}
        about = {**_inference_model(built), **name, "License": variant.license}
        (built / INFERENCE_MODEL).write_bytes(
            msgspec.json.format(msgspec.json.encode(about), indent=2)
        )
        if note is not None:
            note.write(built)
        check_folder(built)
        write_model_digests(built)
        put_in_place(built, variant, home)
    return ModelCache(home).find(variant.id)


def describe_folder(folder: Path, name: str | None = None) -> ModelVariant:
    """What a folder with a genai_config.json says about itself. ``name``: what to call it.

    Raises BrokenFileError.
    """
    own = str(_inference_model(folder).get("Name") or "")
    title = name or _VERSION.sub("", own) or name_of(folder)
    try:
        variant = described_by_folder(folder, safe(title).lower() or "model")
    except ValueError as error:
        raise BrokenFileError(str(error)) from None
    except FileNotFoundError as error:
        raise BrokenFileError(f"The folder has no {Path(error.filename).name}") from None
    return msgspec.structs.replace(variant, display_name=title)


def name_of(folder: Path) -> str:
    """The folder's name; of a snapshot in the hub's own cache, the repository's."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def check_folder(built: Path) -> None:
    """That a worker will find what it needs. Raises BrokenFileError."""
    describe_folder(built, "model")
    if not any(built.glob("*.onnx")):
        raise BrokenFileError("The folder has no ONNX file")
    from cupola.cache.convert.formats.onnx_check import check_graphs

    check_graphs(built)
    if not (built / "tokenizer.json").is_file():
        raise BrokenFileError(
            "The folder has no tokenizer.json. Add the one of the model that it was made of"
        )


def _copy(folder: Path, built: Path) -> None:
    """The files right in the folder, with those that links lead to. Hard links where it can."""
    built.mkdir()
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.endswith(_SKIPPED) or path.name.startswith("."):
            continue
        try:
            if path.is_symlink() or folder.name[:8] != "partial-":
                raise OSError  # a file that its owner may change is copied
            os.link(path, built / path.name)
        except OSError:
            shutil.copyfile(path, built / path.name)


def _inference_model(folder: Path) -> dict[str, object]:
    try:
        content = msgspec.json.decode((folder / INFERENCE_MODEL).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return {}
    return content if isinstance(content, dict) else {}
