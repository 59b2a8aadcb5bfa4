"""Names of files that somebody else wrote: none may lead out of the folder that they belong to."""

from __future__ import annotations

import re


def leads_out(name: str) -> bool:
    """Whether a name, as Linux or as Windows reads it, can lead out of a folder."""
    return (
        name[:1] in ("/", "\\", "~")
        or name[1:2] == ":"  # a drive of Windows
        or "\0" in name
        or ".." in re.split(r"[/\\]", name)
    )
