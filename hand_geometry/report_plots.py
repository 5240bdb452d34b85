"""The two drawings of the report as inline SVG: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 74.0, 30.0, 16.0, 56.0
GENUINE_COLOUR, IMPOSTOR_COLOUR, SECOND_COLOUR = "#1b6e53", "#b3472f", "#315a9c"
BINS = 48


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a DET plot: false non-match rates at the plot's false match rates."""

    name: str
    rates: NDArray[np.float64]
    colour: str


@dataclass(frozen=True)
class _Frame:
    """From values to places in the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A value's place, clipped to the frame."""
        across = (min(max(x, self.x[0]), self.x[1]) - self.x[0]) / (self.x[1] - self.x[0])
        up = (min(max(y, self.y[0]), self.y[1]) - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    def grid(
        self, xs: Sequence[tuple[float, str]], ys: Sequence[tuple[float, str]], names: tuple[str, str]
    ) -> list[str]:
        """Lines, their labels and the names of both axes."""
        parts = []
        for x, label in xs:
            px, bottom = self.at(x, self.y[0])
            parts.append(f'<line x1="{px:.1f}" y1="{_TOP}" x2="{px:.1f}" y2="{bottom:.1f}" class="grid"/>')
            parts.append(f'<text x="{px:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{html.escape(label)}</text>')
        for y, label in ys:
            left, py = self.at(self.x[0], y)
            parts.append(f'<line x1="{left:.1f}" y1="{py:.1f}" x2="{WIDTH - _RIGHT}" y2="{py:.1f}" class="grid"/>')
            parts.append(f'<text x="{left - 7:.1f}" y="{py + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
            f"{html.escape(names[0])}</text>"
            f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
            f"{html.escape(names[1])}</text>"
        )
        return parts


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{html.escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _legend(entries: Sequence[tuple[str, str]], x: float) -> list[str]:
    parts = []
    for row, (name, colour) in enumerate(entries):
        y = _TOP + 18 + 20 * row
        parts.append(f'<rect x="{x}" y="{y - 9}" width="14" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{y}">{html.escape(name)}</text>')
    return parts


def det_plot(
    false_match_rates: NDArray[np.float64],
    curves: Sequence[Curve],
    band: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    title: str,
    axes: tuple[str, str],
    written: Callable[[str], str] = str,
) -> str:
    """The detection error trade-off on logarithmic axes; ``band`` is the interval of the first curve.

    A rate of zero cannot be drawn on such an axis: it lies on the lower edge. ``written`` gives numbers their comma.
    """
    lowest = float(false_match_rates[0])
    floor = 1e-4
    frame = _Frame((float(np.log10(lowest)), 0.0), (float(np.log10(floor)), 0.0))
    decades = [(float(e), written(f"{100 * 10.0**e:g} %")) for e in range(-4, 1)]
    parts = frame.grid([one for one in decades if one[0] >= frame.x[0] - 1e-9], decades, axes)

    def line(rates: NDArray[np.float64]) -> list[tuple[float, float]]:
        drawn = np.log10(np.maximum(rates, floor))
        return [frame.at(float(x), float(y)) for x, y in zip(np.log10(false_match_rates), drawn, strict=True)]

    around = [*line(band[1]), *reversed(line(band[0]))]
    parts.append(f'<polygon points="{_points(around)}" fill="{curves[0].colour}" opacity="0.15"/>')
    for curve in curves:
        parts.append(
            f'<polyline points="{_points(line(curve.rates))}" fill="none" stroke="{curve.colour}" stroke-width="2.5"/>'
        )
    left, right = frame.at(float(np.log10(lowest)), float(np.log10(lowest))), frame.at(0.0, 0.0)
    parts.append(f'<line x1="{left[0]}" y1="{left[1]}" x2="{right[0]}" y2="{right[1]}" class="diagonal"/>')
    return _svg(title, parts + _legend([(curve.name, curve.colour) for curve in curves], WIDTH - 310))


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def histogram_plot(
    genuine: NDArray[np.float64],
    impostor: NDArray[np.float64],
    marks: Sequence[tuple[float, str]],
    *,
    title: str,
    names: tuple[str, str],
    axes: tuple[str, str],
    written: Callable[[str], str] = str,
) -> str:
    """Shares of genuine and impostor scores side by side, with thresholds as vertical lines.

    Failures have no score and are not drawn. What lies outside the axis is counted in the outermost bar.
    """
    genuine, impostor = genuine[np.isfinite(genuine)], impostor[np.isfinite(impostor)]
    both = np.concatenate([genuine, impostor, [one for one, _ in marks]])
    low, high = np.floor(float(both.min()) * 2) / 2, np.ceil(min(float(both.max()), 1.0) * 2) / 2
    edges = np.linspace(low, max(high, low + 0.5), BINS + 1)
    shares = [
        np.histogram(np.clip(one, edges[0], edges[-1]), edges)[0] / max(len(one), 1) for one in (genuine, impostor)
    ]
    top = max(float(max(one.max() for one in shares)), 0.01)
    frame = _Frame((float(edges[0]), float(edges[-1])), (0.0, top * 1.05))
    steps = [float(one) for one in np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 0.5, 1.0)]
    levels = [float(one) for one in np.linspace(0.0, top, 5)]
    parts = frame.grid(
        [(one, f"{one:g}") for one in steps], [(one, written(f"{100 * one:.1f} %")) for one in levels], axes
    )
    for share, colour in zip(shares, (GENUINE_COLOUR, IMPOSTOR_COLOUR), strict=True):
        for at, value in enumerate(share):
            if value:
                (x1, y1), (x2, y2) = frame.at(float(edges[at]), float(value)), frame.at(float(edges[at + 1]), 0.0)
                box = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
                parts.append(f'<rect {box} fill="{colour}" opacity="0.6"/>')
    for at, (value, label) in enumerate(marks):
        x, bottom = frame.at(value, 0.0)
        y = _TOP + 130 + 16 * at
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom:.1f}" class="mark"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{y:.1f}">{html.escape(label)}</text>')
    return _svg(title, parts + _legend(list(zip(names, (GENUINE_COLOUR, IMPOSTOR_COLOUR), strict=True)), _LEFT + 12))
