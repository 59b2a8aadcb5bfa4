"""The sound file on this machine's disk that a request names, where that is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cupola.gateway.http.errors import ApiError

_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"))


def read_sound(name: str, folder: str, limit: int) -> bytes:
    """The content of the file ``name``, which must lie below ``folder``; empty: none may be read.

    ``limit``: bytes. A path that is not below the folder and one that is not there get the same
    answer, so that nobody learns what is on the disk. Raises ApiError.
    """
    if not folder:
        text = (
            "Files of the server are not read here: send the file itself as multipart/form-data, "
            "or have the operator set 'audio_folder'"
        )
        raise ApiError(403, "forbidden", text, param="filename")
    root = Path(folder).expanduser()
    try:
        root = root.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root):
            raise _missing()
        # The last part cannot have become a link since, and a pipe is not waited for.
        file = os.open(path, os.O_RDONLY | _FLAGS)
    except (OSError, ValueError, RuntimeError):
        raise _missing() from None
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise _missing()
        if about.st_size > limit:
            text = f"The file is larger than the {limit} bytes that are allowed"
            raise ApiError(413, "request_too_large", text, param="filename")
        with open(file, "rb", closefd=False) as opened:
            return opened.read(limit)
    finally:
        os.close(file)


def _missing() -> ApiError:
    text = "There is no such file below the folder of the setting 'audio_folder'"
    return ApiError(400, "invalid_value", text, param="filename")
