from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from detkit.pages.search_page import render_search
from detkit.report import SearchReport

SVG = "{http://www.w3.org/2000/svg}"
TRIALS = [
    {"score": 0.3, "latency_ms": 5.0, "macs": 1e9, "parameters": 1e6},
    {"score": float("nan"), "latency_ms": 9.0, "macs": 2e9, "parameters": 2e6},
]


def test_page_shows_the_front_and_keeps_hostile_names_as_text(sample: Callable[..., Any]) -> None:
    report = sample(SearchReport)
    point = dataclasses.replace(report.pareto[0], name="<script>x</script>", score=0.4)
    report = dataclasses.replace(report, cost="macs", pareto=(point,), space="<b>mine</b>")
    page = render_search(report, TRIALS, {"yolo-nas-s": TRIALS[0]}, [0.0, 0.2])
    assert "<script" not in page
    assert "<b>mine" not in page
    assert page.count("&lt;script&gt;x&lt;/script&gt;") == 1
    scatter, progress = map(ET.fromstring, re.findall(r"<svg.*?</svg>", page, re.S))
    assert len(scatter.findall(f".//{SVG}circle")) == 3
    labels = [item.text for item in scatter.iter(f"{SVG}text") if "label" in item.attrib["class"]]
    assert labels == ["yolo-nas-s"]
    assert len(progress.findall(f".//{SVG}circle")) == 2
