"""A panel of an SVG picture: axes with round ticks, lines, stacked areas, a legend. As little as the plots need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

# Okabe and Ito's, which people of every colour vision tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a", "#b5a900")
INK, PALE, GRID = "#222222", "#666666", "#e4e4e4"

# Pixels between two names of a legend, and from one of its rows to the next.
_BETWEEN, _ROW_HEIGHT = 18, 17

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, linear or (from a number above 0 on) logarithmic, with labelled ticks."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`; what is beyond is put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(high: float, label: Callable[[float], str] = "{:,.6g}".format) -> Axis:
    """From 0 to a round number that is not below `high`, with four to eight ticks."""
    high = high if high > 0 else 1.0
    rough = high / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    count = math.ceil(high / step - 1e-9)
    return Axis(0.0, step * count, [(step * n, label(step * n)) for n in range(count + 1)])


def logarithmic(low: float, high: float, label: Callable[[float], str]) -> Axis:
    """Between powers of ten."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(max(high, low * 10)))
    return Axis(10.0**first, 10.0**last, [(10.0**n, label(10.0**n)) for n in range(first, last + 1)], log=True)


@dataclass(slots=True, kw_only=True)
class Panel:
    """One plot at (left, top), pixels all."""

    title: str
    left: float
    top: float
    x: Axis
    y: Axis
    width: float = 500.0
    height: float = 250.0
    _drawn: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str]] = field(default_factory=list)

    def line(self, points: Sequence[Point], colour: str, name: str = "", *, dashed: bool = False) -> None:
        """Through these points, in order."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._drawn.append(
            f'<polyline points="{self._placed(points)}" fill="none" stroke="{colour}" stroke-width="1.8"'
            f' stroke-linejoin="round"{dash}/>'
        )
        self._told(name, colour)

    def area(self, lower: Sequence[Point], upper: Sequence[Point], colour: str, name: str = "") -> None:
        """Between two lines."""
        around = self._placed([*upper, *reversed(lower)])
        self._drawn.append(f'<polygon points="{around}" fill="{colour}" fill-opacity="0.55"/>')
        self._told(name, colour)

    def mark(self, at: float, text: str, colour: str) -> None:
        """A vertical line with words at its foot."""
        x = self._x(at)
        foot = self.top + self.height
        self._drawn.append(
            f'<line x1="{x:.1f}" y1="{self.top:.1f}" x2="{x:.1f}" y2="{foot:.1f}" stroke="{colour}"'
            f' stroke-width="1.2" stroke-dasharray="2 3"/>'
            f'<text x="{x - 4:.1f}" y="{foot - 6:.1f}" text-anchor="end" font-size="11" fill="{colour}">'
            f"{escape(text)}</text>"
        )

    def draw(self) -> str:
        """The whole panel."""
        return "\n".join(
            (
                f'<text x="{self.left:.1f}" y="{self.top - 34 - _ROW_HEIGHT * (len(self._rows()) - 1):.1f}"'
                f' font-size="15" font-weight="600" fill="{INK}">{escape(self.title)}</text>',
                *self._axes(),
                *(self._drawn if self._legend else self._nothing()),
                *self._names(),
            )
        )

    def _axes(self) -> list[str]:
        foot, right = self.top + self.height, self.left + self.width
        lines = []
        for value, label in self.y.ticks:
            y = self._y(value)
            lines.append(
                f'<line x1="{self.left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
                f'<text x="{self.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end" font-size="11" fill="{PALE}">'
                f"{escape(label)}</text>"
            )
        for value, label in self.x.ticks:
            x = self._x(value)
            lines.append(
                f'<line x1="{x:.1f}" y1="{foot:.1f}" x2="{x:.1f}" y2="{foot + 5:.1f}" stroke="{PALE}"/>'
                f'<text x="{x:.1f}" y="{foot + 19:.1f}" text-anchor="middle" font-size="11" fill="{PALE}">'
                f"{escape(label)}</text>"
            )
        lines.append(f'<line x1="{self.left:.1f}" y1="{foot:.1f}" x2="{right:.1f}" y2="{foot:.1f}" stroke="{PALE}"/>')
        return lines

    def _nothing(self) -> list[str]:
        """Instead of lines, where there are none."""
        x, y = self.left + self.width / 2, self.top + self.height / 2
        return [f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="13" fill="{PALE}">none</text>']

    def _names(self) -> list[str]:
        """The legend above the plot, the last of its rows next to it."""
        words, rows = [], self._rows()
        for n, row in enumerate(rows):
            at, top = self.left, self.top - 23 - _ROW_HEIGHT * (len(rows) - 1 - n)
            for name, colour in row:
                words.append(
                    f'<rect x="{at:.1f}" y="{top:.1f}" width="11" height="11" rx="2" fill="{colour}"/>'
                    f'<text x="{at + 16:.1f}" y="{top + 10:.1f}" font-size="12" fill="{INK}">{escape(name)}</text>'
                )
                at += _wide(name)
        return words

    def _rows(self) -> list[list[tuple[str, str]]]:
        """The legend's names, as many in a row as the plot is wide for."""
        rows: list[list[tuple[str, str]]] = [[]]
        for name, colour in self._legend:
            if rows[-1] and sum(_wide(each) for each, _ in rows[-1]) + _wide(name) > self.width + _BETWEEN:
                rows.append([])
            rows[-1].append((name, colour))
        return rows

    def _told(self, name: str, colour: str) -> None:
        if name:
            self._legend.append((name, colour))

    def _placed(self, points: Sequence[Point]) -> str:
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)

    def _x(self, value: float) -> float:
        return self.left + self.width * self.x.share(value)

    def _y(self, value: float) -> float:
        return self.top + self.height * (1 - self.y.share(value))


def _wide(name: str) -> float:
    """What a name and its colour take in a legend, about, with what is between two of them."""
    return 16 + 6.6 * len(name) + _BETWEEN


def picture(width: int, height: int, heading: str, lines: Sequence[str], panels: Sequence[Panel]) -> str:
    """A whole SVG document: a heading, lines of text below it, panels."""
    told = "\n".join(
        f'<text x="40" y="{66 + 19 * n}" font-size="13" fill="{PALE}">{escape(line)}</text>'
        for n, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="40" y="40" font-size="20" font-weight="600" fill="{INK}">{escape(heading)}</text>\n'
        f"{told}\n" + "\n".join(panel.draw() for panel in panels) + "\n</svg>\n"
    )
