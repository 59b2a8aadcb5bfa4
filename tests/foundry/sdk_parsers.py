"""How the SDKs of Foundry Local's first generation read the answer to POST /openai/download.

Rules, not code: they were taken down from the contract, and say nothing of progress bars. Those of
JS and Rust depend on the pieces in which the network hands the answer over.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


class NoResultError(Exception):
    """The SDK finds no result in the answer."""


@dataclass
class Parsed:
    success: bool
    error: str | None
    progress: list[float] = field(default_factory=list)


def python(pieces: list[bytes]) -> Parsed:
    """Lines; from the first that starts with "{" on it is JSON, which must end with "}"."""
    progress: list[float] = []
    collected = ""
    for line in b"".join(pieces).decode().splitlines():
        if collected or line.startswith("{"):
            collected += line
        elif match := PERCENT.search(line):
            progress.append(float(match[1]))
    if not collected.endswith("}"):
        raise NoResultError("JSON does not end")
    body = json.loads(collected)
    return Parsed(body["success"], body["errorMessage"], progress)


def javascript(pieces: list[bytes]) -> Parsed:
    """Pieces: one that starts with "{" begins the JSON, every other may hold a percentage."""
    progress: list[float] = []
    collected = ""
    for piece in pieces:
        text = piece.decode()
        if collected or text.startswith("{"):
            collected += text
        elif match := PERCENT.search(text):
            progress.append(float(match[1]))
    if not collected:
        raise NoResultError("No JSON data received!")
    body = json.loads(collected)
    return Parsed(body["success"], body["error"], progress)


def rust(pieces: list[bytes]) -> Parsed:
    """Pieces as in JS; the fields are typed."""
    collected = ""
    for piece in pieces:
        text = piece.decode()
        if collected or text.startswith("{"):
            collected += text
    if not collected:
        raise NoResultError("Empty response body")
    body: dict[str, Any] = json.loads(collected)
    if not isinstance(body["success"], bool):
        raise NoResultError("success is no bool")
    return Parsed(body["success"], body.get("errorMessage"))


def csharp(pieces: list[bytes]) -> Parsed:
    """The whole text: the JSON is what follows the last "{", so it must be flat."""
    text = b"".join(pieces).decode()
    start = text.rfind("{")
    if start < 0:
        raise NoResultError("no JSON")
    body = json.loads(text[start:])
    return Parsed(body["success"], body["errorMessage"])


def csharp_with_progress(pieces: list[bytes]) -> Parsed:
    """Lines: progress has three marks, JSON counts only after the download is said to be done."""
    progress: list[float] = []
    collected, done = "", False
    for line in b"".join(pieces).decode().splitlines():
        if done:
            collected += line
        elif "[DONE]" in line or "All Completed" in line:
            done = True
        elif line.startswith("Total") and "Downloading" in line and "%" in line:
            match = PERCENT.search(line)
            assert match is not None
            progress.append(float(match[1]))
        else:
            raise NoResultError(f"unexpected line {line!r}")
    if not collected.strip():
        raise NoResultError("no JSON after the progress")
    body = json.loads(collected)
    return Parsed(body["success"], body["errorMessage"], progress)


ALL = (python, javascript, rust, csharp, csharp_with_progress)
