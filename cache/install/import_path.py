"""Makes a model of what is on this disk: a GGUF file, or a folder of any kind."""

from __future__ import annotations

from pathlib import Path

from cupola.cache.adapter_files import ADAPTER_CONFIG
from cupola.cache.convert.formats.json_file import JsonObject, read_json
from cupola.cache.convert.whisper.whisper_files import is_built_whisper
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.adopt import adopt, describe_folder, name_of
from cupola.cache.install.building import need_room, one_of_this_name
from cupola.cache.install.fetch import sha256_of
from cupola.cache.install.install import (
    described,
    import_as,
    import_decoder,
    import_gguf,
    import_whisper,
)
from cupola.cache.model_config import GENAI_CONFIG
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.remote.hub_files import PICKLES, TASKS, Choice, HubFile, choose, of_type
from cupola.cache.store import CachedModel, ModelCache

_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08", b"7z\xbc\xaf")


def import_path(
    path: Path,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    precision: Precision | None = None,
) -> CachedModel:
    """Makes a model of ``path``, which stays as it is.

    A folder of onnxruntime-genai's form is taken as it is, unless it has a Whisper; one with a
    GGUF, with the safetensors of a decoder, with what sentence-transformers publishes, or with a
    Whisper is converted. ``precision``:
    of the weights of a GGUF or of safetensors; see ``import_gguf``. Raises CacheError, OSError.
    """
    if not path.is_dir():
        _refuse_kind(path)
        return import_gguf(path, home, alias, progress, precision=precision)
    if (path / GENAI_CONFIG).is_file():
        return _import_folder(path, home, alias, progress)
    if (path / ADAPTER_CONFIG).exists() and not (path / "config.json").exists():
        raise UnsupportedError(f"{path} is an adapter. Name its model: --base MODEL")
    files = [each for each in path.rglob("*") if each.is_file()]
    names = [HubFile(each.relative_to(path).as_posix(), each.stat().st_size) for each in files]
    choice = _explained(choose(names), path)
    chosen = path / choice.files[0].path
    if choice.kind in TASKS:
        variant = described(alias or path.name, task=TASKS[choice.kind])
        return import_as(chosen, variant, sha256_of(chosen, progress), home, progress)
    if choice.kind == "decoder":
        variant = described(alias or name_of(path))
        return import_decoder(chosen, variant, home, progress, precision=precision)
    if chosen.name == GENAI_CONFIG:
        return _import_folder(chosen.parent, home, alias, progress)
    ggufs = [each.name for each in files if each.suffix == ".gguf"]
    if len(ggufs) > 1 and "-of-" not in chosen.name:
        raise UnsupportedError(f"{path} has several GGUF files. Name one: {', '.join(ggufs)}")
    return import_gguf(chosen, home, alias, progress, precision=precision)


def _explained(choice: Choice, folder: Path) -> Choice:
    """Raises BrokenFileError for a config.json that cannot be read."""
    if choice.kind != "decoder":
        return choice
    config = JsonObject("config.json", read_json(folder / "config.json"))
    return of_type(choice, config.get("model_type", str, ""))


def _refuse_kind(file: Path) -> None:
    """Raises UnsupportedError for files that are no GGUF, before much of them is read."""
    if file.exists() and not file.is_file():  # a pipe or a device: it may never end
        raise UnsupportedError(f"{file} is no regular file. Give a file or a folder on the disk")
    ending = file.suffix.lower()
    with file.open("rb") as opened:
        begin = opened.read(4)
    if ending == ".onnx":
        raise UnsupportedError(
            f"{file.name} alone is no model. Give the folder with its {GENAI_CONFIG}"
        )
    if ending == ".safetensors":
        raise UnsupportedError(
            f"{file.name} alone is no model. Give the folder with its config.json"
        )
    if ending in PICKLES or begin[:1] == b"\x80":
        raise UnsupportedError(
            f"{file.name} is a pickle, which can run code and is never opened. Take the model's "
            "GGUF or safetensors"
        )
    if begin in _ARCHIVES:
        raise UnsupportedError(f"{file.name} is an archive. Unpack it, and give what is in it")


def _import_folder(folder: Path, home: Home, alias: str | None, progress: Progress) -> CachedModel:
    if folder.resolve().is_relative_to(home.models.resolve()):
        raise BrokenFileError(f"{folder} is in the cache of models already")
    if is_built_whisper(folder):
        variant = described(alias or name_of(folder), task=TASKS["whisper"])
        return import_whisper(folder, variant, home, progress)
    variant = describe_folder(folder, alias)
    with one_of_this_name(variant, home, progress):
        for model in ModelCache(home).scan():
            if model.variant.id == variant.id:
                raise UnsupportedError(
                    f"There is a model {variant.id} already. Give the new one another name "
                    f"with --name, or remove it: cupola model remove {variant.id}"
                )
        need_room(home, sum(each.stat().st_size for each in folder.iterdir() if each.is_file()))
        return adopt(folder, variant, home, None)
