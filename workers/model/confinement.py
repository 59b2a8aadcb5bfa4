"""Checks of a model's folder that somebody else has made: it runs no code and reads no other files.

onnxruntime-genai loads a library that ``genai_config.json`` names, and writes a profile where it
says. Both runtimes read the files that it names. So nothing in the folder may
name a library, and no name and no link may lead out of the folder. All of the config is searched,
whatever place a key has, because newer runtimes add places.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cupola.cache.system.confined_names import leads_out

_CONFIG = "genai_config.json"
# Keys that name code: custom_ops_library, library_path, native_libraries, op_packages of QNN,
# trt_extra_plugin_lib_paths.
_CODE_KEY = re.compile(r"librar|plugin|op_packages", re.IGNORECASE)
_CODE_FILE = re.compile(r"\.(so|dll|dylib|exe|pyd)[\d.]*$", re.IGNORECASE)
# QNN's own libraries, found in its installation. Foundry Local's models for NPUs name one.
_QNN_BACKEND = re.compile(r"(lib)?Qnn(Htp|Gpu|Cpu|Ir)\.(so|dll)", re.IGNORECASE)
# A file is written to the working directory, or wherever the text says.
_PROFILE_KEY = "enable_profiling"
# These providers are looked for in the working directory or where the environment says.
_LOADED_PROVIDERS = {"ryzenai", "amdgpu"}
# The names of a graph's inputs and outputs may look like paths.
_NO_FILES = {"inputs", "outputs"}


class ConfinementError(ValueError):
    """A model names a library or a file outside its folder; the text says where."""


def parse_config(text: str) -> Any:
    """Parse ``genai_config.json``. Raises ValueError, also if a key is there twice.

    Of two values this reader and the runtime's could take different ones.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' is there twice")
    return found


def check_config(config: Any) -> None:
    """Raises ConfinementError."""
    for place, key, value in _entries(config, ""):
        folded = key.casefold()
        if folded in _LOADED_PROVIDERS and ".provider_options" in place.casefold():
            raise ConfinementError(f"{_CONFIG}: {place} is a provider that loads a library")
        if not value or isinstance(value, dict | list):
            continue
        if _CODE_KEY.search(place) or _is_code(key, value):
            raise ConfinementError(
                f"{_CONFIG}: {place} names a library, and a model may not bring code of its own; "
                "if it works without, remove the entry"
            )
        if folded == _PROFILE_KEY:
            raise ConfinementError(f"{_CONFIG}: {place} would write files; remove the entry")
        if isinstance(value, str) and leads_out(value):
            raise ConfinementError(
                f"{_CONFIG}: {place} names a file outside the model's folder; a model may only use "
                "its own files"
            )


def _entries(value: Any, place: str, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value in the config, with its place as ``a.b[0].c`` and the last key in it."""
    yield place, key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in _NO_FILES:
                yield from _entries(inner, f"{place}.{name}" if place else name, name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _entries(inner, f"{place}[{index}]", key)


def _is_code(key: str, value: object) -> bool:
    if not isinstance(value, str) or not _CODE_FILE.search(value.strip()):
        return False
    return key.casefold() != "backend_path" or not _QNN_BACKEND.fullmatch(value)


def check_links(folder: Path) -> None:
    """No link in the folder leads out of it. The folder itself may be a link.

    Raises ConfinementError, OSError.
    """
    real = folder.resolve()
    for parent, folders, files in os.walk(real):
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                continue
            try:
                target = path.resolve()
            except (OSError, RuntimeError) as error:  # a loop of links
                raise ConfinementError(f"{path.relative_to(real)} is a link to itself") from error
            if not target.is_relative_to(real):
                raise ConfinementError(
                    f"{path.relative_to(real)} is a link to a file outside the model's folder; "
                    "put the file itself there, or link the whole folder"
                )
