from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from detkit.pages.chart import (
    Series,
    bar_chart,
    line_chart,
    log_ticks,
    scatter_chart,
    text,
    tick_label,
    ticks,
)

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</svg><script>alert('1')</script>\x00\x1b\u202e&\ud800"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 0.58, (0, 0.2, 0.4, 0.6)),
        (0, 3.7, (0, 1, 2, 3, 4)),
        (0, 0.002, (0, 0.0005, 0.001, 0.0015, 0.002)),
        (0, 24, (0, 5, 10, 15, 20, 25)),
        (-3, 7, (-4, -2, 0, 2, 4, 6, 8)),
        (0, 0, (0, 0.2)),
    ],
)
def test_ticks_are_round_and_enclose_the_range(
    low: int, high: float, expected: tuple[float, ...]
) -> None:
    assert ticks(low, high) == pytest.approx(expected)
    assert ticks(low, high)[0] <= low
    assert ticks(low, high)[-1] >= high


@pytest.mark.parametrize("last", [1, 2, 3, 7, 12, 99, 300, 12345])
def test_epoch_ticks_are_whole_and_few(last: int) -> None:
    found = ticks(0, last, count=7, whole=True)
    assert all(value == int(value) for value in found)
    assert 2 <= len(found) <= 9


@pytest.mark.parametrize(
    ("value", "step", "label"),
    [(0.2, 0.2, "0.2"), (3, 1, "3"), (0.0015, 0.0005, "0.0015"), (0, 1e-5, "0"), (20, 20, "20")],
)
def test_tick_label_has_the_decimals_of_the_step(value: float, step: float, label: str) -> None:
    assert tick_label(value, step) == label


def test_text_is_escaped_and_unprintable_characters_are_replaced() -> None:
    assert text("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"
    assert text("a\x1b\u202eb\ud800") == "a\ufffd\ufffdb\ufffd"
    assert text("\u6587\u5b57 \u00e4") == "\u6587\u5b57 \u00e4"


def test_line_lies_on_its_values() -> None:
    svg = ET.fromstring(line_chart("AP", [Series("ap", ((1, 0.0), (2, 0.5), (3, 1.0)))]))
    line = svg.find(f".//{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.1)
    assert y2 == pytest.approx((y1 + y3) / 2, abs=0.1)
    assert x1 < x3
    assert y1 > y3  # up is less on a screen
    labels = [item.text for item in svg.iter(f"{SVG}text")]
    assert {"AP", "0.0", "1.0", "1", "2", "3", "epoch"} <= set(labels)


def test_every_series_has_its_colour_and_place_in_the_legend() -> None:
    series = [Series("total", ((0, 3.0), (1, 2.0))), Series("none", ()), Series("IoU", ((0, 1.0),))]
    drawn = line_chart("Loss", series, unit="an image", mark_x=1)
    svg = ET.fromstring(drawn)
    assert [group.attrib["class"] for group in svg.findall(f"{SVG}g")] == [
        "s0", "s2", "s0", "s1", "s2",
    ]  # fmt: skip
    assert all(f">{name}</text>" in drawn for name in ("total", "none", "IoU"))
    assert svg.find(f".//{SVG}line[@class='mark']") is not None


@pytest.mark.parametrize(
    "points", [(), ((5, 0.0),), ((0, 1e-9), (1, 0.0)), ((0, 1e12), (9, -1e12))]
)
def test_degenerate_lines_still_draw_inside_the_image(
    points: tuple[tuple[int, float], ...],
) -> None:
    svg = ET.fromstring(line_chart("x", [Series("x", points)], size=(400, 200)))
    for circle in svg.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= 400
        assert 0 <= float(circle.attrib["cy"]) <= 200


def test_front_is_a_staircase_that_never_promises_more_than_its_points() -> None:
    front = Series("front", ((1.0, 0.2), (2.0, 0.5), (4.0, 0.6)))
    svg = ET.fromstring(
        scatter_chart("x", [Series("all", ()), front], x_label="ms", joined="front")
    )
    points = svg.findall(f".//{SVG}polyline")[0].attrib["points"].split()
    corners = [tuple(map(float, point.split(","))) for point in points]
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in svg.iter(f"{SVG}circle")]
    assert corners[::2] == dots
    assert corners[1] == (dots[1][0], dots[0][1])
    assert corners[3] == (dots[2][0], dots[1][1])


def test_logarithmic_axis_gives_every_factor_the_same_width() -> None:
    group = Series("x", ((1.0, 0.0), (10.0, 1.0), (100.0, 2.0)), ("a", "b", "c"))
    svg = ET.fromstring(scatter_chart("x", [group], x_label="ms", log_x=True))
    x1, x2, x3 = (float(circle.attrib["cx"]) for circle in svg.iter(f"{SVG}circle"))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert [title.text for title in svg.iter(f"{SVG}title")][1] == "b: 10, 1"
    shown = [item.text for item in svg.iter(f"{SVG}text")]
    assert {"1", "2", "5", "10", "20", "50", "100", "a", "b", "c"} <= set(shown)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.0, 300.0, (2, 5, 10, 20, 50, 100, 200, 500)),
        (0.03, 0.9, (0.02, 0.05, 0.1, 0.2, 0.5, 1)),
        (0.33, 0.45, (0.32, 0.34, 0.36, 0.38, 0.4, 0.42, 0.44, 0.46)),
        (5.0, 5.0, (5, 6)),
        (0.1, 0.29, (0.1, 0.15, 0.2, 0.25, 0.3)),
    ],
)
def test_logarithmic_ticks_enclose_the_range(
    low: float, high: float, expected: tuple[float, ...]
) -> None:
    found = log_ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("points", [(), ((5, 0.0),), ((0.1, 1e-9), (0.1, 1e-9)), ((-1e9, 3),)])
def test_degenerate_scatters_still_draw_inside_the_image(
    points: tuple[tuple[float, float], ...],
) -> None:
    svg = ET.fromstring(scatter_chart("x", [Series("x", points)], x_label="ms", size=(400, 200)))
    for circle in svg.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= 400
        assert 0 <= float(circle.attrib["cy"]) <= 200


def test_bars_are_as_long_as_their_values() -> None:
    bars = {"cat": 1.0, "dog": 0.5, "eel": 0.0, "none": None}
    svg = ET.fromstring(bar_chart("AP", bars))
    lengths = [float(item.attrib["width"]) for item in svg.findall(f".//{SVG}rect[@class='bar']")]
    assert lengths[1] == pytest.approx(lengths[0] / 2, abs=0.1)
    assert lengths[2:] == [0, 0]
    assert [item.text for item in svg.iter(f"{SVG}title")][-1] == "none: -"


def test_hostile_names_leave_the_charts_well_formed() -> None:
    line = line_chart(HOSTILE, [Series(HOSTILE, ((0, 1.0),)), Series("b", ())], unit=HOSTILE)
    group = Series(HOSTILE, ((0, 1.0),))
    scatter = scatter_chart(HOSTILE, [group], x_label=HOSTILE, unit=HOSTILE, joined=HOSTILE)
    for drawn in (line, scatter, bar_chart(HOSTILE, {HOSTILE: 0.5, "x" * 500: None})):
        svg = ET.fromstring(drawn)
        assert svg.find(f".//{SVG}script") is None
        drawn.encode("utf-8")
