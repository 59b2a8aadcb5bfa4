"""What clients are told of an error: no paths of this machine, which a client must not see."""

from __future__ import annotations

import re
from pathlib import Path

_BEGINS = r"(?<![\w.\\/-])"  # not in the middle of another path
# A path of Linux or Windows with at least two parts, where a path can begin.
_PATH = re.compile(
    r"""(?<![\w.:/\\*<-])(?:[A-Za-z]:[\\/]|\\\\|/)(?:[^\s'"`,;:()\[\]<>\\/]+[\\/])+([^\s'"`,;:()\[\]<>\\/]*)"""
)


def without_paths(error: Exception | str, folder: Path) -> str:
    """The error's text, with the names of files instead of their paths.

    ``folder``: the model's, or the data folder. Its path may have spaces, so it is looked for as a
    whole.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        text = f"{Path(error.filename).name}: {error.strerror}"
    for known in dict.fromkeys((folder, folder.absolute(), folder.resolve())):
        for parent in (known.parent, *known.parent.parents):
            if len(parent.parts) > 1:  # more than the root
                text = re.sub(rf"{_BEGINS}{re.escape(str(parent))}[\\/]", "", text)
    return _PATH.sub(lambda match: match[1] or "(a folder)", text)
