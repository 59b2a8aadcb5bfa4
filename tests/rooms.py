"""The folders of each package in their order, and the picture of it: ``docs/rooms.svg``.

``python -m tests.rooms`` draws the picture anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PICTURE = Path(__file__).parent.parent / "docs" / "rooms.svg"

# The folders of a package, from the top down: each may import those below it. A line is a level;
# the folders of one level do not import each other. "." is the package's own folder.
ORDER = {
    "gateway": """
        .
        decisions foundry operations ranking tokens
        openai/audio openai/responses
        anthropic ollama openai
        openai/responses/body
        openai/body
        generation
        toolcalls
        core/schemas
        core
        openapi
        access
        http
    """,
    "workers": """
        .
        encoder engine speech
        decisions planning slots speculation
        run
        kv
        graph sampling
        grammar device
        model
    """,
    "cache": """
        install
        disk
        convert/whisper
        convert remote
        convert/graph convert/tokenizer
        convert/quantization
        convert/quality
        convert/weights
        convert/formats
        .
        system
    """,
    "scheduler": """
        .
        placement
        faults
        state
        waiting
        protocol
    """,
    "client": """
        commands
        commands/measure
        commands/decisions
        commands/models
        commands/service
        commands/common
        terminal
        sdk
        .
    """,
    "service": """
        .
        output processes settings
    """,
    "loadtests": """
        .
        decisions
        chaos overhead users
        simulate tune
        bench
        host report
        load
    """,
}


class Package(NamedTuple):
    """What the picture says of a package: its name, its work, and the files of its own folder."""

    name: str
    work: str
    own: str


# From left to right: each may import those to its right.
PACKAGES = (
    Package("client", "SDK and commands", "HTTP, daemon"),
    Package("loadtests", "load, bench, tuning", "engine, variants"),
    Package("service", "settings, supervisor", "composition"),
    Package("gateway", "HTTP: no model, no queue", "app, server, apis"),
    Package("workers", "one process a device", "main, worker, loading"),
    Package("scheduler", "queue, placement, leases", "core, broker, intake"),
    Package("cache", "catalog, model cache", "catalog, store"),
)

# Lengths in the picture's units.
_LEFT, _TOP, _WIDTH, _GAP = 14, 32, 182, 12  # of a package
_FIRST_ROW, _ROW, _ROOM = 84, 38, 30
_LONG = 13  # letters: two names of a level stand side by side if both are shorter

_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="system-ui, sans-serif" font-size="13">
  <title>The packages and their folders: imports go to the right and down</title>
  <style>
    .package {{ fill: #f6f8fa; stroke: #57606a; stroke-width: 1.5; }}
    .room {{ fill: #e8f3ff; stroke: #9aa4ae; }}
    .own {{ fill: #fff8e6; stroke: #9aa4ae; }}
    text {{ fill: #1f2328; }}
    .small {{ font-size: 11px; fill: #57606a; }}
    .name {{ font-weight: 600; font-size: 15px; }}
    .wire {{ stroke: #57606a; stroke-width: 1.5; fill: none; marker-end: url(#tip); }}
  </style>
  <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" \
orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>
  <rect width="{width}" height="{height}" fill="#ffffff"/>
  <path class="wire" d="M14 20 H{end}"/><text class="small" x="18" y="14">A package may import \
those to its right. Exceptions: gateway imports nothing of workers, loadtests nothing of service \
and gateway, client only the settings of service.</text>
"""
_FOOT = """\
  <text class="small" x="18" y="{y}">Within a package, imports go down. \
Yellow: the files of the package itself. Blue: its folders.</text>
</svg>
"""


def levels(package: str) -> Mapping[str, int]:
    """How far below the top each folder of a package is."""
    return {
        package if name == "." else f"{package}/{name}": depth
        for depth, row in enumerate(_lines(package))
        for name in row
    }


def drawn() -> str:
    """The picture as SVG."""
    rows = {package.name: list(_rows(package.name)) for package in PACKAGES}
    tall = _FIRST_ROW - _TOP + _ROW * max(map(len, rows.values())) + 6
    height = _TOP + tall + 34
    end = _LEFT + (_WIDTH + _GAP) * len(PACKAGES) - _GAP
    parts = [_HEAD.format(height=height, width=end + _LEFT, end=end)]
    for number, package in enumerate(PACKAGES):
        x = _LEFT + (_WIDTH + _GAP) * number
        parts.append(
            f'  <rect class="package" x="{x}" y="{_TOP}" width="{_WIDTH}" height="{tall}" '
            'rx="8"/>\n'
            f'  <text class="name" x="{x + 12}" y="{_TOP + 22}">{package.name}</text>\n'
            f'  <text class="small" x="{x + 12}" y="{_TOP + 37}">{package.work}</text>\n'
        )
        for depth, row in enumerate(rows[package.name]):
            y = _FIRST_ROW + _ROW * depth
            parts += [
                _room(package, name, x + 12 + 81 * k, y, len(row)) for k, name in enumerate(row)
            ]
    return "".join(parts) + _FOOT.format(y=height - 14)


def _room(package: Package, name: str, x: int, y: int, beside: int) -> str:
    own = name == "."
    label = package.own if own else name
    width = 158 if beside == 1 else 77
    small = ""
    if beside > 1:
        small = f' font-size="{9 if "/" in label and len(label) > 11 else 11}"'
    return (
        f'  <rect class="{"own" if own else "room"}" x="{x}" y="{y}" width="{width}" '
        f'height="{_ROOM}" rx="5"/>'
        f'<text x="{x + width // 2}" y="{y + 20}" text-anchor="middle"{small}>{label}</text>\n'
    )


def _rows(package: str) -> Iterator[list[str]]:
    """What stands in a line of the picture: one folder, or two short ones of a level."""
    for names in _lines(package):
        step = 2 if max(map(len, names)) < _LONG else 1
        for start in range(0, len(names), step):
            yield names[start : start + step]


def _lines(package: str) -> list[list[str]]:
    lines = ORDER.get(package, ".").split("\n")
    return [line.split() for line in lines if line.strip()]


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
