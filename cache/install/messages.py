"""What an install process is told to do, and what it reports: one line of JSON each."""

from __future__ import annotations

import msgspec

from cupola.cache.errors import CacheErrorCode
from cupola.cache.precision import Precision

# -- jobs: the argument of the process -------------------------------------------------------------


class DownloadJob(msgspec.Struct, frozen=True, tag="download"):
    """Fetch and convert a model. ``home``: the data folder."""

    home: str
    model: str  # id, name, alias, or an address such as "hf:org/name"
    force: bool = False  # also when the model is on the disk
    alias: str | None = None  # of a model from an address; None: as it is called there
    precision: Precision | None = None  # of the weights; None: what suits the file
    base: str | None = None  # of an adapter: a model, or the absolute path of one


class ImportJob(msgspec.Struct, frozen=True, tag="import"):
    """Make a model of the file or folder ``path``. ``home``: the data folder."""

    home: str
    path: str
    alias: str | None = None  # None: what the file calls itself
    precision: Precision | None = None  # of the weights; None: what suits the file
    base: str | None = None  # of an adapter: a model, or the absolute path of one


class QuantizeJob(msgspec.Struct, frozen=True, tag="quantize"):
    """Make a variant of a model that is on the disk. ``home``: the data folder."""

    home: str
    model: str  # id, name or alias
    precision: Precision


InstallJob = DownloadJob | ImportJob | QuantizeJob

# -- reports: the lines of its standard output -----------------------------------------------------


class InstallProgress(msgspec.Struct, frozen=True, tag="progress"):
    """How far a stage is, in bytes. ``total`` is None while it is not known."""

    stage: str  # "wait", "download", "check" or "convert"
    done: int = 0
    total: int | None = None
    rate: float | None = None  # bytes a second
    seconds_left: float | None = None  # of the stage

    @property
    def fraction(self) -> float:
        """The part of the stage that is done, from 0 to 1; 0 while the total is not known."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def pace(self) -> str:
        """The rate and the time that is left, such as "53.7 MB/s, 12 s left"; empty: not known."""
        if not self.rate:
            return ""
        words = f"{self.rate / 1e6:.1f} MB/s"
        if self.seconds_left is None:
            return words
        minutes, seconds = divmod(round(self.seconds_left), 60)
        left = f"{minutes} min" if minutes > 1 else f"{60 * minutes + seconds} s"
        return f"{words}, {left} left"


class Installed(msgspec.Struct, frozen=True, tag="installed"):
    """The model is ready in ``path``."""

    model_id: str
    path: str


class InstallFailed(msgspec.Struct, frozen=True, tag="failed"):
    """There is no new model; one that was there before is unchanged."""

    code: CacheErrorCode
    message: str


InstallResult = Installed | InstallFailed
InstallReport = InstallProgress | InstallResult

decode_job = msgspec.json.Decoder(InstallJob).decode
decode_report = msgspec.json.Decoder(InstallReport).decode
encode = msgspec.json.Encoder().encode
