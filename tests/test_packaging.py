"""What is installed is what is in the checkout: every module, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.imports import ROOT, imports

NOT_PACKAGES = {"tests", "docs"}
WITH_EXTRA = {"loadtests/users/": "loadtest", "gateway/telemetry.py": "telemetry"}

# Programs that run in an environment of their own, or by hand: their docstrings say what they need.
APART = re.compile(r"/programs/|/make_\w+\.py$|/host/\w+_peer\.py$")


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


def needs_extra(name: str) -> bool:
    return any(place in name for place in WITH_EXTRA)


def package_folders(files: list[Path]) -> set[str]:
    return {
        ".".join(path.parent.parts)
        for path in files
        if path.suffix == ".py" and path.parts[0] not in NOT_PACKAGES
    }


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return checkout_files()


def project() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@cache
def providers_of_modules() -> Mapping[str, list[str]]:
    """The installed distributions that have each module."""
    return metadata.packages_distributions()


def declared(requirements: Iterable[str]) -> set[str]:
    """The distributions that ``requirements`` name, in the index's spelling."""
    return {spelling(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in requirements}


def spelling(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(paths: Iterable[Path]) -> set[str]:
    """The top-level names that are imported and neither Python's nor the checkout's."""
    found = {
        each.top
        for each in imports(ROOT / path for path in paths)
        # A script imports the script beside it.
        if not each.relative and not (ROOT / each.file).with_name(f"{each.top}.py").is_file()
    }
    return found - set(sys.stdlib_module_names) - {"cupola", "tests"}


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
    tools = project()["tool"]
    listed = tools["setuptools"]["packages"]
    assert {f"cupola.{folder}" for folder in package_folders(files)} == set(listed)
    top = {name for name in listed if name.count(".") == 1}
    assert set(tools["mypy"]["packages"]) == top | {"tests"}


@pytest.mark.parametrize(
    ("folders", "extra"),
    [
        (None, ""),
        (("tests", "docs"), "test"),
        *(((place,), extra) for place, extra in WITH_EXTRA.items()),
    ],
)
def test_what_is_imported_is_declared(
    folders: tuple[str, ...] | None, extra: str, files: list[Path]
) -> None:
    """``folders`` None: the packages, which have no extra."""
    about, providers = project()["project"], providers_of_modules()
    allowed = declared(about["dependencies"])
    if extra:
        allowed |= declared(about["optional-dependencies"][extra])
    paths = [
        path
        for path in files
        if path.suffix == ".py"
        and not APART.search(path.as_posix())
        and (
            path.as_posix().startswith(folders)
            if folders
            else path.parts[0] not in NOT_PACKAGES
            and not path.as_posix().startswith(tuple(WITH_EXTRA))
        )
    ]
    assert paths
    undeclared = {
        name
        for name in imported(paths)
        # What is not installed here, as locust may be, is taken to be called as its module.
        if not {spelling(each) for each in providers.get(name, [name])} & allowed
    }
    assert undeclared == set()


def test_what_is_declared_is_imported(files: list[Path]) -> None:
    names = imported(
        path
        for path in files
        if path.suffix == ".py"
        and path.parts[0] not in NOT_PACKAGES
        and not APART.search(path.as_posix())
    )
    providers = providers_of_modules()
    used = {spelling(each) for name in names for each in providers.get(name, [])}
    assert declared(project()["project"]["dependencies"]) - used == set()


def test_every_dependency_has_a_tested_version() -> None:
    about = project()["project"]
    wanted = declared([*about["dependencies"], *about["optional-dependencies"]["test"]])
    pinned = declared(
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert wanted - pinned == set()


def test_the_wheel_holds_every_module_and_no_other(files: list[Path], wheel: Path) -> None:
    folders = package_folders(files)
    expected = {
        f"cupola/{path.as_posix()}"
        for path in files
        if ".".join(path.parent.parts) in folders
        and (path.suffix == ".py" or path.name in {"py.typed", "catalog.json", "alice.txt"})
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
            and not APART.search(name)
            and not any(each in name for each in WITH_EXTRA)
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
