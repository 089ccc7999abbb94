"""Line and bar charts as SVG text, for a page without scripts. Colours come from the page's CSS.

Every text is escaped here; axes have ticks at round numbers. Classes used: `grid`, `axis`, `tick`,
`title`, `label`, `mark`, `bar` and `s0` to `s5` for the series.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 52.0, 38.0  # margins around the plot, in px
MARKED_POINTS = 60  # a longer line is drawn without a dot on every point
SHORT_RANGE = 3  # times the least x: up to there a logarithmic axis has evenly spaced ticks
LABEL_CHAR = 8.0  # px, about the width of a letter
ROW, NAME_CHARS = 22, 22  # height of a bar's row, characters shown of its name


@dataclass(frozen=True)
class Series:
    """A named line; points are (x, y), x ascending. `labels` are written beside a scatter's."""

    name: str
    points: tuple[tuple[float, float], ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where data coordinates lie on the image: `size` is (width, height) in px."""

    size: tuple[float, float]
    x_ticks: tuple[float, ...]
    x_labels: tuple[str, ...]
    y_ticks: tuple[float, ...]
    x_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (self.size[0] - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        floor = self.size[1] - BOTTOM
        return floor - (value - low) / (high - low) * (floor - TOP)


def printable(value: object) -> str:
    """The text of a value; characters that cannot be shown become U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(value))


def text(value: object) -> str:
    """The printable text of a value, escaped for XML."""
    return html.escape(printable(value), quote=True)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    x_label: str = "epoch",
    mark_x: float | None = None,
    size: tuple[int, int] = (640, 320),
) -> Markup:
    """Lines over whole-numbered x (epochs), y from 0; `mark_x` draws a dashed vertical line."""
    drawn = [item for item in series if item.points]
    frame = _frame(drawn, size)
    parts = [
        _title(title, unit),
        *_axes(frame, x_label),
        *([] if mark_x is None else [_mark(frame, mark_x)]),
        *(_line(frame, item, series.index(item)) for item in drawn),
        *_legend([item.name for item in series] if len(series) > 1 else []),
    ]
    return _svg(title, size, parts)


def scatter_chart(
    title: str,
    groups: Sequence[Series],
    *,
    unit: str = "",
    x_label: str,
    joined: str = "",
    log_x: bool = False,
    size: tuple[int, int] = (760, 420),
) -> Markup:
    """Points in the plane, axes from where the data begins; later groups lie over earlier ones.

    The group `joined`, x ascending, has a staircase that stays at a y until the next x. On a
    logarithmic axis all x are positive.
    """
    points = [point for group in groups for point in group.points] or [(1.0, 0.0)]
    xs, ys = zip(*points, strict=True)
    values = log_ticks(min(xs), max(xs)) if log_x else ticks(min(xs), max(xs), count=6)
    x_ticks = tuple(map(math.log10, values)) if log_x else values
    frame = Frame(
        size=size,
        x_ticks=x_ticks,
        x_labels=tick_labels(values),
        y_ticks=ticks(min(ys), max(ys), count=6),
        x_range=(x_ticks[0], x_ticks[-1]),
    )
    if log_x:
        groups = [_log_x(group) for group in groups]
    parts = [_title(title, unit), *_axes(frame, x_label)]
    for i, group in enumerate(groups):
        line = _staircase(frame, group) if group.name == joined else ""
        dots = _dots(frame, group, radius=4 if group.name == joined else 3, log_x=log_x)
        parts.append(f'<g class="s{i % 6}">{line}{dots}</g>')
    return _svg(title, size, [*parts, *_legend([group.name for group in groups])])


def bar_chart(title: str, bars: Mapping[str, float | None], *, width: int = 640) -> Markup:
    """Horizontal bars of shares 0..1 in the order given, None without a bar; no drawn title."""
    left, length = 8 + NAME_CHARS * 7.2, width - 60 - NAME_CHARS * 7.2
    rows = []
    for i, (name, value) in enumerate(bars.items()):
        y = ROW * i
        shown = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 3] + "..."
        figure = "-" if value is None else f"{value:.3f}"
        box = f'x="{left:.1f}" y="{y + 5}" height="{ROW - 9}" rx="2"'
        rows.append(
            f"<g><title>{text(name)}: {figure}</title>"
            f'<text class="tick end" x="{left - 8:.1f}" y="{y + 16}">{text(shown)}</text>'
            f'<rect class="track" {box} width="{length:.1f}"/>'
            f'<rect class="bar" {box} width="{length * min(max(value or 0, 0), 1):.1f}"/>'
            f'<text class="tick" x="{left + length + 8:.1f}" y="{y + 16}">{figure}</text></g>'
        )
    return _svg(title, (width, ROW * len(bars)), rows)


def ticks(low: float, high: float, *, count: int = 5, whole: bool = False) -> tuple[float, ...]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) that enclose low..high."""
    span = (high - low) or abs(high) or 1.0
    exponent = math.floor(math.log10(span / count))
    steps = [factor * 10.0**power for power in (exponent, exponent + 1) for factor in (1, 2, 5)]
    step = next(step for step in steps if span / step <= count)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 12) for i in range(first, max(last, first + 1) + 1))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times powers of ten that enclose positive low..high; as `ticks` if it is short."""
    if high < SHORT_RANGE * low:
        return ticks(low, high, count=6)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    known = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(tick for tick in known if tick <= low * (1 + 1e-9))
    last = min(tick for tick in known if tick >= high * (1 - 1e-9))
    return tuple(tick for tick in known if first <= tick <= last)


def tick_labels(values: Sequence[float]) -> tuple[str, ...]:
    """Each with the decimals of the step from the one before."""
    steps = [b - a for a, b in itertools.pairwise(values)] or [1.0]
    nearest = zip(values, [steps[0], *steps], strict=False)
    return tuple(tick_label(value, step) for value, step in nearest)


def tick_label(value: float, step: float) -> str:
    """A number with the decimals its step needs; by powers of ten where those are too many."""
    if step < 1e-4 or abs(value) >= 1e6:
        return f"{value:g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}"


def _frame(series: Sequence[Series], size: tuple[float, float]) -> Frame:
    xs = [x for item in series for x, _ in item.points] or [0.0]
    ys = [y for item in series for _, y in item.points] or [1.0]
    x_range = (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] - 1, xs[0] + 1)
    inside = ticks(*x_range, count=max(2, int(size[0] / 90)), whole=True)
    x_ticks = tuple(x for x in inside if x_range[0] <= x <= x_range[1])
    return Frame(
        size=size,
        x_ticks=x_ticks,
        x_labels=tick_labels(x_ticks),
        y_ticks=ticks(min(0.0, *ys), max(0.0, *ys)),
        x_range=x_range,
    )


def _axes(frame: Frame, x_label: str) -> list[str]:
    width, height = frame.size
    step_y, floor = frame.y_ticks[1] - frame.y_ticks[0], height - BOTTOM
    parts = []
    for value in frame.y_ticks:
        y = frame.y(value)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="tick end" x="{LEFT - 7}" y="{y + 4:.1f}">'
            f"{tick_label(value, step_y)}</text>",
        ]
    for value, label in zip(frame.x_ticks, frame.x_labels, strict=True):
        x = frame.x(value)
        parts += [
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>',
            f'<text class="tick middle" x="{x:.1f}" y="{floor + 17}">{label}</text>',
        ]
    return [
        *parts,
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{floor}" y2="{floor}"/>',
        f'<text class="tick end" x="{width - RIGHT}" y="{height - 5}">{text(x_label)}</text>',
    ]


def _line(frame: Frame, series: Series, index: int) -> str:
    points = [(frame.x(x), frame.y(y), x, y) for x, y in series.points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in points)
    marked = points if len(points) <= MARKED_POINTS else points[-1:]
    dots = "".join(
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6">'
        f"<title>{text(series.name)}, {x:.0f}: {y:.5g}</title></circle>"
        for px, py, x, y in marked
    )
    return f'<g class="s{index % 6}"><polyline points="{path}"/>{dots}</g>'


def _log_x(series: Series) -> Series:
    points = tuple((math.log10(x), y) for x, y in series.points)
    return Series(series.name, points, series.labels)


def _dots(frame: Frame, series: Series, *, radius: int, log_x: bool) -> str:
    """The points of a scatter with their values, and the labels beside them."""
    parts = []
    for i, (x, y) in enumerate(series.points):
        px, py, label = frame.x(x), frame.y(y), "".join(series.labels[i : i + 1])
        shown = f"{label or series.name}: {10**x if log_x else x:.4g}, {y:.5g}"
        title = f"<title>{text(shown)}</title>"
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}">{title}</circle>')
        if label:
            fits = px - LEFT > LABEL_CHAR * len(label)  # on the left, away from a rising front
            kind, at = ("label end", px - 7) if fits else ("label", px + 7)
            parts.append(f'<text class="{kind}" x="{at:.1f}" y="{py - 6:.1f}">{text(label)}</text>')
    return "".join(parts)


def _staircase(frame: Frame, series: Series) -> str:
    corners = list(series.points[:1])
    for x, y in series.points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in corners)
    return f'<polyline points="{path}"/>'


def _mark(frame: Frame, x: float) -> str:
    at = frame.x(x)
    return (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{frame.size[1] - BOTTOM}"/>'
    )


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], LEFT
    for i, name in enumerate(names):
        parts.append(
            f'<g class="s{i % 6}"><line x1="{x:.0f}" x2="{x + 16:.0f}" y1="36" y2="36"/></g>'
            f'<text class="tick" x="{x + 21:.0f}" y="40">{text(name)}</text>'
        )
        x += 40 + 6.6 * len(name)
    return parts


def _title(title: str, unit: str) -> str:
    after = f'<tspan class="tick" dx="6">{text(unit)}</tspan>' if unit else ""
    return f'<text class="title" x="0" y="16">{text(title)}{after}</text>'


def _svg(title: str, size: tuple[int, int], parts: Sequence[str]) -> Markup:
    width, height = size
    body = "\n".join(parts)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{text(title)}">\n{body}\n</svg>'
    )
