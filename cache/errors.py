"""What can go wrong between a model's name and a model folder.

CacheError
├── NotCachedError        the catalog knows the model, this disk does not have it
├── NoSpaceError          the disk has too little room left
├── NoMemoryError         the model is larger than this machine's memory
├── NoSourceError         the model cannot be downloaded
├── FetchError            a server, the package index or pip did not give the file
│   ├── DeniedError       it wants a token, or terms to be accepted
│   ├── NotFoundError     it has no such model or file
│   ├── UnreachableError  it does not answer
│   ├── NoPipError        this interpreter has no pip
│   └── HashMismatchError the file that came is not the file that was meant
├── ModelFileError        a GGUF file cannot become a model folder
│   ├── BrokenFileError   it is damaged, cut off, or no GGUF at all
│   └── UnsupportedError  it is sound, but of a kind that the converter does not know
│       └── UnknownFamilyError  of a family that another converter may know
└── InstallError          any of these, as an install process reports it

Every message says what happened and, where there is something to do, what to do next. Every error
has a ``code``, which is what crosses the border of a process.
"""

from __future__ import annotations

import enum

from cupola.cache.catalog import ModelVariant


class CacheErrorCode(enum.StrEnum):
    """Why a model did not get onto the disk."""

    BROKEN_FILE = "broken_file"
    DENIED = "denied"
    DISK = "disk"  # an OSError
    ENDED = "ended"  # the install process died without a result
    FETCH = "fetch"
    HASH_MISMATCH = "hash_mismatch"
    NO_MEMORY = "no_memory"
    NO_PIP = "no_pip"
    NO_SOURCE = "no_source"  # the catalog does not say where the model can be had
    NO_SPACE = "no_space"
    NOT_CACHED = "not_cached"
    NOT_FOUND = "not_found"
    OTHER = "other"
    UNKNOWN_MODEL = "unknown_model"
    UNREACHABLE = "unreachable"
    UNSUPPORTED_FILE = "unsupported_file"


class CacheError(Exception):
    """Base of the errors that this package raises about models on the disk."""

    code = CacheErrorCode.OTHER


class NotCachedError(CacheError):
    """The model is known but not on this disk."""

    code = CacheErrorCode.NOT_CACHED

    def __init__(self, variant: ModelVariant) -> None:
        self.variant = variant
        super().__init__(f"Model '{variant.id}' is not downloaded")

    @property
    def model_id(self) -> str:
        return self.variant.id


class NoSpaceError(CacheError):
    """Less room on the disk than the model needs. Sizes in bytes."""

    code = CacheErrorCode.NO_SPACE

    def __init__(self, folder: str, needed: int, free: int) -> None:
        self.needed = needed
        self.free = free
        super().__init__(
            f"Not enough disk space under {folder}: {needed / 1e6:.0f} MB needed, "
            f"{free / 1e6:.0f} MB free"
        )


class NoMemoryError(CacheError):
    """The machine cannot hold the model's weights. Sizes in bytes."""

    code = CacheErrorCode.NO_MEMORY

    def __init__(self, name: str, needed: int, memory: int, fitting: str) -> None:
        self.needed = needed
        super().__init__(
            f"'{name}' is too large for this machine: its weights take {needed / 1e9:.1f} GB of "
            f"memory, and the machine has {memory / 1e9:.1f} GB. {fitting}"
        )


class NoSourceError(CacheError):
    """The catalog does not say where the model can be had."""

    code = CacheErrorCode.NO_SOURCE

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model '{model_id}' cannot be downloaded: the catalog has no source")


class FetchError(CacheError):
    """The file could not be fetched."""

    code = CacheErrorCode.FETCH


class DeniedError(FetchError):
    """The server gives it only to some: to those with a token, or who have accepted its terms."""

    code = CacheErrorCode.DENIED


class NotFoundError(FetchError):
    """The server has no such model or file."""

    code = CacheErrorCode.NOT_FOUND


class UnreachableError(FetchError):
    """The server does not answer."""

    code = CacheErrorCode.UNREACHABLE


class NoPipError(FetchError):
    """This interpreter cannot run pip."""

    code = CacheErrorCode.NO_PIP


class HashMismatchError(FetchError):
    """The fetched file has another SHA-256 than the catalog says."""

    code = CacheErrorCode.HASH_MISMATCH


class ModelFileError(CacheError):
    """A GGUF file that cannot be converted."""

    code = CacheErrorCode.BROKEN_FILE


class BrokenFileError(ModelFileError):
    """Not a GGUF file, cut off, or with contents that contradict each other."""

    code = CacheErrorCode.BROKEN_FILE


class UnsupportedError(ModelFileError):
    """A sound GGUF file of a kind that the converter does not know."""

    code = CacheErrorCode.UNSUPPORTED_FILE


class UnknownFamilyError(UnsupportedError):
    """A model of a family that the converter does not know. Another one may.

    ``family``: its name in the model's files; empty: not known.
    """

    def __init__(self, message: str, family: str = "") -> None:
        super().__init__(message)
        self.family = family


class InstallError(CacheError):
    """An install process has failed; ``code`` says which of the errors above ended it."""

    def __init__(self, code: CacheErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
