"""The imports of the packages and the tests, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("cache", "scheduler", "workers", "gateway", "service", "loadtests", "client")


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


def imports(paths: Iterable[Path]) -> list[Import]:
    return [found for path in paths for found in _imports(path)]


def ours() -> list[Import]:
    """The imports of the packages."""
    return imports(sources(*PACKAGES))


def everyones() -> list[Import]:
    """Those of the tests as well."""
    return ours() + imports(sources("tests"))


@cache  # reading all files takes longer than most tests
def _imports(path: Path) -> list[Import]:
    file = path.relative_to(ROOT).as_posix()
    found = []
    for node in _statements(ast.parse(path.read_text("utf-8"), file)):
        if isinstance(node, ast.Import):
            for name in node.names:
                found.append(Import(file, node.lineno, (name.name,), relative=False))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for name in node.names:
                names = (module, f"{module}.{name.name}")
                found.append(Import(file, node.lineno, names, relative=node.level > 0))
    return found


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements within, without a look at the expressions, which are most of a tree."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, field, ()):
            yield child
            yield from _statements(child)
