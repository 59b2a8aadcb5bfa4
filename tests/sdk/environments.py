"""Environments that hold clients nobody here wrote, as their publishers ship them.

Each is made once in the test cache; a test is skipped when the index cannot be reached.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from cupola.cache.locks import file_lock

_SECONDS = 600  # for an installation
_UNREACHABLE = re.compile(
    r"connection broken|Max retries exceeded|No matching distribution|ENOTFOUND|ECONNREFUSED"
    r"|ETIMEDOUT|EAI_AGAIN|network"
)


def python_with(cache: Path, name: str, *steps: list[str]) -> Path:
    """An interpreter after a ``pip install`` with each step's arguments, kept under ``name``."""
    major, minor = sys.version_info[:2]
    folder = cache / f"sdk-{name}-python{major}.{minor}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with file_lock(cache / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
            for arguments in steps:
                _install([*pip, "install", *arguments], folder)
            (folder / "complete").touch()
    return python


def node_with(cache: Path, name: str, *packages: str) -> Path:
    """A folder whose ``node_modules`` hold ``packages``, kept under ``name``."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js on this machine")
    folder = cache / f"sdk-{name}-node"
    with file_lock(cache / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "package.json").write_text('{"private": true, "type": "module"}')
            _install([npm, "install", "--no-audit", "--no-fund", *packages], folder)
            (folder / "complete").touch()
    return folder


def _install(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the package index is too slow")
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if _UNREACHABLE.search(said):
            pytest.skip(f"the package index cannot be reached, or lacks it: {said[-300:]}")
        raise AssertionError(said)
