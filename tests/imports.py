"""The imports of the packages and the tests, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("cache", "scheduler", "workers", "gateway", "service", "client")


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    names: tuple[str, ...]  # what it may mean, e.g. ("cupola.cache", "cupola.cache.home")
    relative: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.names[-1]}"

    @property
    def top(self) -> str:
        return self.names[0].partition(".")[0]

    @cached_property
    def target(self) -> str:
        """The file of ours that is imported, or empty."""
        for name in reversed(self.names):
            path = name.removeprefix("cupola.").replace(".", "/")
            if name.startswith("cupola."):
                for file in (f"{path}.py", f"{path}/__init__.py"):
                    if (ROOT / file).is_file():
                        return file
        return ""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(paths: Iterable[Path]) -> Iterator[Import]:
    for path in paths:
        file = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"), file)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield Import(file, node.lineno, (name.name,), relative=False)
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                for name in node.names:
                    names = (module, f"{module}.{name.name}")
                    yield Import(file, node.lineno, names, relative=node.level > 0)


# Read when a test asks, because reading takes longer than most tests.
@cache
def ours() -> list[Import]:
    """The imports of the packages."""
    return list(imports(sources(*PACKAGES)))


@cache
def everyones() -> list[Import]:
    """Those of the tests as well."""
    return ours() + list(imports(sources("tests", "loadtests")))
