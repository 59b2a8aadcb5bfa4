"""What can go wrong between a model's name and a model folder.

CacheError
├── NotCachedError        the catalog knows the model, this disk does not have it
├── NoSpaceError          the disk has too little room left
├── FetchError            the package index or pip did not give the file
│   ├── NoPipError        this interpreter has no pip
│   └── HashMismatchError the file that came is not the file that was meant
└── ModelFileError        a GGUF file cannot become a model folder
    ├── BrokenFileError   it is damaged, cut off, or no GGUF at all
    └── UnsupportedError  it is sound, but of a kind that the converter does not know

Every message says what happened and, where there is something to do, what to do next.
"""

from __future__ import annotations

from cupola.cache.catalog import ModelVariant


class CacheError(Exception):
    """Base of the errors that this package raises about models on the disk."""


class NotCachedError(CacheError):
    """The model is known but not on this disk."""

    def __init__(self, variant: ModelVariant) -> None:
        self.variant = variant
        super().__init__(f"Model '{variant.id}' is not downloaded")

    @property
    def model_id(self) -> str:
        return self.variant.id


class NoSpaceError(CacheError):
    """Less room on the disk than the model needs. Sizes in bytes."""

    def __init__(self, folder: str, needed: int, free: int) -> None:
        self.needed = needed
        self.free = free
        super().__init__(
            f"Not enough disk space under {folder}: {needed / 1e6:.0f} MB needed, "
            f"{free / 1e6:.0f} MB free"
        )


class FetchError(CacheError):
    """The file could not be fetched from the package index."""


class NoPipError(FetchError):
    """This interpreter cannot run pip."""


class HashMismatchError(FetchError):
    """The fetched file has another SHA-256 than the catalog says."""


class ModelFileError(CacheError):
    """A GGUF file that cannot be converted."""


class BrokenFileError(ModelFileError):
    """Not a GGUF file, cut off, or with contents that contradict each other."""


class UnsupportedError(ModelFileError):
    """A sound GGUF file of a kind that the converter does not know."""
