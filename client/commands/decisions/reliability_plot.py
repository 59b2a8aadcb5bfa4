"""A reliability plot as SVG: how often answers of each probability are right. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cupola.client.commands.decisions.calibration import BINS, Bin, expected_error

_SIZE, _MARGIN, _GAP, _RIGHT = 240, 44, 40, 8
_STYLE = (
    "text{font:12px sans-serif;fill:#444}.title{font-size:13px;fill:#111}.bar{fill:#3b78c2}"
    ".frame{fill:none;stroke:#bbb}.ideal{stroke:#999;stroke-dasharray:4 3}.count{font-size:9px}"
)


def plot(before: Sequence[Bin], after: Sequence[Bin]) -> str:
    """Two panels: before and after the calibration. Over a bar: of how many answers it is."""
    width, height = 2 * (_SIZE + _MARGIN) + _GAP + _RIGHT, _SIZE + 2 * _MARGIN
    panels = _panel(_MARGIN, "Before", before) + _panel(2 * _MARGIN + _SIZE + _GAP, "After", after)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return f"{head}\n<style>{_STYLE}</style>\n{panels}</svg>\n"


def _panel(left: int, title: str, found: Sequence[Bin]) -> str:
    top, bottom = _MARGIN, _MARGIN + _SIZE
    step = _SIZE / BINS
    bars = [
        f'<rect class="bar" x="{left + number * step + 1:.1f}"'
        f' y="{bottom - each.right * _SIZE:.1f}"'
        f' width="{step - 2:.1f}" height="{each.right * _SIZE:.1f}">'
        f"<title>{each.count} answers, mean probability {each.probability:.3f}, "
        f"{each.right:.3f} right</title></rect>"
        for number, each in enumerate(found)
        if each.count
    ]
    counts = [
        f'<text class="count" x="{left + (number + 0.5) * step:.1f}"'
        f' y="{max(top - 2.0, bottom - each.right * _SIZE - 3):.1f}" text-anchor="middle">'
        f"{each.count}</text>"
        for number, each in enumerate(found)
        if each.count
    ]
    middle = top + _SIZE / 2
    lines = [
        f'<text class="title" x="{left}" y="{top - 12}">'
        f"{title}: calibration error {expected_error(found):.3f}</text>",
        f'<rect class="frame" x="{left}" y="{top}" width="{_SIZE}" height="{_SIZE}"/>',
        *bars,
        *counts,
        f'<line class="ideal" x1="{left}" y1="{bottom}" x2="{left + _SIZE}" y2="{top}"/>',
        f'<text x="{left}" y="{bottom + 18}">0</text>',
        f'<text x="{left + _SIZE}" y="{bottom + 18}" text-anchor="end">1</text>',
        f'<text x="{left + _SIZE / 2}" y="{bottom + 32}" text-anchor="middle">probability</text>',
        f'<text x="{left - 8}" y="{middle}" text-anchor="middle"'
        f' transform="rotate(-90 {left - 8} {middle})">answered right</text>',
        f'<text x="{left - 8}" y="{top + 10}" text-anchor="end">1</text>',
        f'<text x="{left - 8}" y="{bottom}" text-anchor="end">0</text>',
    ]
    return "\n".join(lines) + "\n"
