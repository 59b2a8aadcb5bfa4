"""The form of a catalog in a file: the one in this package, and those that operators write.

    {"models": [{"alias": "qwen3-4b", "repository": "Qwen/Qwen3-4B-GGUF", "part": "Q4_K_M", …}]}

Sizes are computed from the number of weights and their precision, and are marked as estimates.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from cupola.cache.catalog import BUILT_IN, HubSource, ModelVariant
from cupola.cache.model_address import safe
from cupola.cache.precision import Precision

_FILE = Path(__file__).with_name("catalog.json")
_MAX_BYTES = 4 << 20
# Bytes a weight, with the scales of its block. Four bits are those of a Q4_K_M, which keeps some
# weights in six, and the embedding has eight.
_BYTES = {Precision.INT8: 1.13, Precision.INT4: 0.65}
_FLOAT_BYTES = 4.0  # of an encoder
_SPEECH_BYTES = 3.0  # its encoder has floats, its decoder 8 bits
_TASKS = {"embedding": "embeddings", "speech": "automatic-speech-recognition"}  # by the tag


class CatalogFileError(ValueError):
    """A catalog that cannot be read; the text says where and why."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of a catalog. Its files are in a repository of the hub."""

    alias: str
    repository: str  # owner/name
    license: str = ""
    part: str = ""  # a file, a folder or a quantisation; empty: the best
    revision: str = "main"
    name: str = ""  # the id begins with it; empty: the alias
    title: str = ""
    publisher: str = ""  # empty: the repository's owner
    family: str = ""  # of the converter
    billions: float = 0.0  # of weights
    size_mb: int = 0  # on this disk; 0: computed
    context: int = 0
    released: int = 0  # Unix seconds; 0: not known
    about: str = ""  # one sentence: what it is good for
    tags: tuple[str, ...] = ()  # chat, coder, reasoning, tools, embedding, speech
    parameters: dict[str, float] = {}  # that its makers advise

    @property
    def precision(self) -> Precision:
        """What the converter makes of it: four bits stay four bits."""
        four = "Q4" in self.part.upper() or "Q5" in self.part.upper()
        return Precision.INT4 if four else Precision.INT8

    def variant(self) -> ModelVariant:
        task = next((_TASKS[tag] for tag in self.tags if tag in _TASKS), "chat-completion")
        chats = task == "chat-completion"
        kind = "int4" if self.precision is Precision.INT4 and chats else "generic"
        bytes_each = _SPEECH_BYTES if "speech" in self.tags else _FLOAT_BYTES
        if chats:
            bytes_each = _BYTES[self.precision]
        owner = self.repository.partition("/")[0]
        return ModelVariant(
            id=f"{safe(self.name or self.alias).lower()}-{kind}-cpu:1",
            alias=self.alias,
            display_name=self.title or self.alias,
            publisher=safe(self.publisher or owner),
            license=self.license,
            task=task,
            file_size_mb=self.size_mb or round(self.billions * 1000 * bytes_each),
            size_is_estimate=not self.size_mb,
            context_length=self.context,
            max_output_tokens=self.context if chats else 0,
            created_at=self.released,
            source=HubSource(self.repository, self.revision, self.part),
            precision=self.precision,
            parameters=self.parameters,
            billions=self.billions,
            tags=self.tags,
            about=self.about,
        )


class _Catalog(msgspec.Struct, frozen=True):
    models: tuple[Entry, ...]


def read_catalog(path: Path) -> tuple[ModelVariant, ...]:
    """The variants of a file. Raises CatalogFileError."""
    try:
        with path.open("rb") as file:
            return decode_catalog(file.read(_MAX_BYTES + 1), str(path))
    except OSError as error:
        raise CatalogFileError(f"{path} cannot be read: {error.strerror}") from None


def decode_catalog(content: bytes, where: str) -> tuple[ModelVariant, ...]:
    """The variants of a file's content. Raises CatalogFileError, which names ``where``."""
    if len(content) > _MAX_BYTES:
        raise CatalogFileError(f"{where} is larger than {_MAX_BYTES} bytes")
    try:
        entries = msgspec.json.decode(content, type=_Catalog).models
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CatalogFileError(f"{where} is no catalog: {error}") from None
    for entry in entries:
        if not safe(entry.alias) or entry.repository.count("/") != 1:
            text = "an alias and a repository as OWNER/NAME"
            raise CatalogFileError(f"{where} is no catalog: each model needs {text}")
    return tuple(entry.variant() for entry in entries)


@cache
def built_in() -> tuple[ModelVariant, ...]:
    """The models that this version of Cupola knows."""
    return (*BUILT_IN, *read_catalog(_FILE))
