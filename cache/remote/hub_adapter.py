"""Which files of a repository make up a LoRA adapter. Pure: a listing in, a choice out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from cupola.cache.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ONNX_ADAPTER
from cupola.cache.errors import NotFoundError, UnsupportedError
from cupola.cache.remote.hub_files import PICKLES, Choice, HubFile


def choose_adapter(files: Sequence[HubFile], part: str = "") -> Choice:
    """The adapter that ``part``, a folder or a file, means; empty: the one at the root or the only.

    Raises NotFoundError, which lists what there is, and UnsupportedError.
    """
    choices = [*_folders(files), *_files(files)]
    if not choices:
        raise UnsupportedError(_nothing(files))
    names = ", ".join(choice.name or "the repository itself" for choice in choices[:20])
    wanted = part.strip("/")
    for choice in choices:
        if choice.name == wanted:
            return choice
    if wanted:
        raise NotFoundError(f"The repository has no adapter '{part}'. It has: {names}")
    if len(choices) > 1:
        raise UnsupportedError(
            f"The repository has several adapters. Name one behind a colon: {names}"
        )
    return choices[0]


def _folders(files: Sequence[HubFile]) -> list[Choice]:
    """As PEFT writes them."""
    by_path = {file.path: file for file in files}
    choices = []
    for path, config in by_path.items():
        place = PurePosixPath(path)
        weights = by_path.get(str(place.with_name(ADAPTER_WEIGHTS)))
        if place.name == ADAPTER_CONFIG and weights is not None:
            name = str(place.parent).removeprefix(".")
            choices.append(Choice("adapter", (config, weights), name))
    return choices


def _files(files: Sequence[HubFile]) -> list[Choice]:
    """In onnxruntime's form."""
    return [
        Choice("adapter", (file,), file.path) for file in files if file.path.endswith(ONNX_ADAPTER)
    ]


def _nothing(files: Sequence[HubFile]) -> str:
    names = {PurePosixPath(file.path).name for file in files}
    if ADAPTER_CONFIG in names and any(name.endswith(PICKLES) for name in names):
        return (
            "The repository has its adapter as a pickle file, which can run code and is never "
            f"opened. Ask its makers for {ADAPTER_WEIGHTS}"
        )
    return (
        f"No adapter is there: no {ADAPTER_WEIGHTS} beside an {ADAPTER_CONFIG}, and no "
        f"*{ONNX_ADAPTER}"
    )
