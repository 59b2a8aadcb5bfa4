"""Environments that hold clients nobody here wrote, as their publishers ship them.

Each is made once in the test cache. Without Node.js or the package index a test is skipped. Where
``CUPOLA_TESTS_REQUIRE_CLIENTS`` is 1 it fails instead, so that a full run cannot miss the clients.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

import pytest

from cupola.cache.system.locks import file_lock

REQUIRE = "CUPOLA_TESTS_REQUIRE_CLIENTS"
SECONDS = 600  # for an installation
UNREACHABLE = re.compile(
    r"connection broken|Max retries exceeded|No matching distribution|ENOTFOUND|ECONNREFUSED"
    r"|ETIMEDOUT|EAI_AGAIN|network"
)


def unavailable(reason: str) -> NoReturn:
    """Skip the test that needs a client, or fail it where clients are required."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason} ({REQUIRE} is 1)")
    pytest.skip(reason)


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
                install([*pip, "install", *arguments], folder)
            (folder / "complete").touch()
    return python


def node_with(cache: Path, name: str, *packages: str) -> Path:
    """A folder whose ``node_modules`` hold ``packages``, kept under ``name``."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("there is no Node.js on this machine")
    folder = cache / f"sdk-{name}-node"
    with file_lock(cache / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "package.json").write_text('{"private": true, "type": "module"}')
            install([npm, "install", "--no-audit", "--no-fund", *packages], folder)
            (folder / "complete").touch()
    return folder


def install(command: list[str], folder: Path) -> None:
    """Run an installer in ``folder``. Raises AssertionError for its other failures."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        unavailable("the package index is too slow")
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        if UNREACHABLE.search(output):
            unavailable(f"the package index cannot be reached, or lacks it: {output[-300:]}")
        raise AssertionError(output)
