"""What is installed is what is in the checkout: every module, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_PACKAGES = {"tests", "loadtests", "docs"}


def checkout_files() -> list[Path]:
    """Files that git has or would add: not what a build or a test run left behind."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [Path(name) for name in listed.split("\0") if name]
    return sorted(path for path in paths if (ROOT / path).is_file())


def package_folders(files: list[Path]) -> set[str]:
    return {
        ".".join(path.parent.parts)
        for path in files
        if path.suffix == ".py" and path.parts[0] not in NOT_PACKAGES
    }


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return checkout_files()


@pytest.fixture(scope="module")
def wheel(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that a clean checkout gives."""
    tree = tmp_path_factory.mktemp("tree")
    for path in files:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tree / path)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    done = subprocess.run([*build, str(tree)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.iterdir()
    return built


def test_every_package_is_listed(files: list[Path]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    assert {f"cupola.{folder}" for folder in package_folders(files)} == set(listed)
    top = {name for name in listed if name.count(".") == 1}
    assert set(project["tool"]["mypy"]["packages"]) == top | {"tests"}


def test_the_wheel_holds_every_module_and_no_other(files: list[Path], wheel: Path) -> None:
    folders = package_folders(files)
    expected = {
        f"cupola/{path.as_posix()}"
        for path in files
        if ".".join(path.parent.parts) in folders
        and (path.suffix == ".py" or path.name == "py.typed")
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    metadata = {name for name in inside if name.partition("/")[0].endswith(".dist-info")}
    assert inside - metadata == expected
    names = {name.partition("/")[2] for name in metadata}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= names


def test_an_installed_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        modules = [
            name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            for name in archive.namelist()
            if name.endswith(".py")
        ]
    # -S keeps the editable install away: only the wheel can provide `cupola`.
    code = f"""
import sys
sys.path[:0] = [{str(site)!r}]
sys.path += {[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]!r}
import importlib
for name in {["cupola.gateway", *modules]!r}:
    module = importlib.import_module(name)
    assert module.__file__.startswith({str(site)!r}), module.__file__
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
