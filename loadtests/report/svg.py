"""Line plots as SVG, in plain text and without a library. Pure.

The colours are those of Okabe and Ito, which readers with any colour vision can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_WIDTH, _HEIGHT = 640, 300  # without the names of the lines, which stand to the right
_LETTER = 8  # of a name, at most
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 46
_TICKS = 5
_MOST = 1e15  # of a value; no number is above it

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """``marks``: each point gets a dot; ``labels`` stand beside the points."""

    name: str
    points: Sequence[Point]
    marks: bool = False
    joined: bool = True
    labels: Sequence[str] = ()


def plot(title: str, x: str, y: str, lines: Sequence[Line]) -> str:
    """Lines over common axes that begin at 0, with their names beside.

    Points that are no numbers, or too large to draw, are left out.
    """
    finite = [[p for p in line.points if all(abs(value) < _MOST for value in p)] for line in lines]
    right = _ceiling(max((p[0] for points in finite for p in points), default=1.0))
    top = _ceiling(max((p[1] for points in finite for p in points), default=1.0))
    width = _WIDTH + _LETTER * max((len(line.name) for line in lines), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-weight="600">{escape(title)}</text>',
        *_axes(x, y, right, top),
    ]
    for number, (line, points) in enumerate(zip(lines, finite, strict=True)):
        places = [_place(point, right, top) for point in points]
        parts += _drawn(line, places, _COLOURS[number % len(_COLOURS)])
        parts.append(
            f'<text x="{_WIDTH}" y="{_TOP + 4 + 15 * number}" '
            f'fill="{_COLOURS[number % len(_COLOURS)]}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _drawn(line: Line, places: Sequence[Point], colour: str) -> list[str]:
    parts = []
    if line.joined and len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        )
    if line.marks or len(places) == 1:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in places]
    parts += [
        f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" font-size="10" fill="#57606a">{escape(text)}</text>'
        for (x, y), text in zip(places, line.labels, strict=False)
    ]
    return parts


def _axes(x: str, y: str, right: float, top: float) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        at_x, at_y = _place((right * share, top * share), right, top)
        parts += [
            f'<path d="M{_LEFT} {at_y:.1f}H{_WIDTH - _RIGHT}" stroke="#e1e4e8"/>',
            f'<text x="{_LEFT - 6}" y="{at_y + 4:.1f}" text-anchor="end" fill="#57606a">'
            f"{_short(top * share)}</text>",
            f'<text x="{at_x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle" '
            f'fill="#57606a">{_short(right * share)}</text>',
        ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [
        *parts,
        f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>',
        f'<text transform="translate(14 {_HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>",
    ]


def _place(point: Point, right: float, top: float) -> Point:
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * point[0] / right
    y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * point[1] / top
    return (x, y)


def _ceiling(value: float) -> float:
    """The next round number, so that ticks are round as well."""
    if value < 1e-12:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * size >= value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
