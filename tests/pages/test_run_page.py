"""The HTML page of a run: well-formed, self-contained, and deaf to what names try to do."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from detkit.config import TrainConfig, to_toml
from detkit.core.content_digest import seal
from detkit.core.errors import ArtifactError
from detkit.core.serialization import to_json
from detkit.pages.run_page import IMAGES, render_run
from detkit.report import Averaged, BenchReport, ConversionReport, EvalReport, TrainReport

HOSTILE = "<script>alert(1)</script>'\"><img src=https://evil.example/x onerror=x>\x1b\x00"
VOID = {"meta", "img", "br"}
JPEG = b"\xff\xd8\xff\xe0not really an image\xff\xd9"


class Checker(HTMLParser):
    """Collects tags and attributes, and fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture
def run(tmp_path: Path, sample: Callable[..., Any]) -> Path:
    """A run folder with everything in it, under names that want to break out."""
    folder = tmp_path / "run <b>1"
    folder.mkdir()
    epochs = [
        {
            "epoch": i,
            **dict.fromkeys(("loss", "loss_cls", "loss_iou", "loss_dfl"), 3.0 - i),
            **dict.fromkeys(("lr", "images_per_s", "data_wait_share", "ap50"), 0.5),
            "ap": [0.1, 0.4, 0.3][i],
            "per_class": {HOSTILE: 0.5, "cat": 0.3, "unseen": None},
        }
        for i in range(3)
    ]
    lines = "".join(json.dumps(seal(epoch)) + "\n" for epoch in epochs)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (folder / "config.toml").write_text(to_toml(TrainConfig(data=HOSTILE)), encoding="utf-8")
    reports = {
        "report": sample(TrainReport, model=HOSTILE, seconds=3723.0),
        "eval": sample(EvalReport, model=HOSTILE),
        "bench": sample(BenchReport, valid=False, warnings=(HOSTILE,)),
        "onnx": sample(ConversionReport, file=HOSTILE),
    }
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(to_json(report), encoding="utf-8")
    (folder / "detections.json").write_text("[]", encoding="utf-8")
    for name in IMAGES:
        (folder / name).write_bytes(JPEG)
    return folder


def test_page_is_well_formed_and_its_charts_are_xml(run: Path) -> None:
    page = render_run(run)
    check(page)
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 6
    for chart in charts:
        ET.fromstring(chart)


def test_page_says_what_the_weights_started_from_and_are_under(
    run: Path, sample: Callable[..., Any]
) -> None:
    def words(**fields: Any) -> str:
        (run / "report.json").write_text(to_json(sample(TrainReport, **fields)), encoding="utf-8")
        return check(render_run(run)).words

    started = {"init": "yolo-nas-n", "weights_taken": 0.875, "classes_known": 2}
    text = words(**started, licence="<b>mine</b>", weights_source="there")
    assert "Started from yolo-nas-n: 87.5% of the weights and 2 classes taken." in text
    assert "Licence of the weights: <b>mine</b> (from: there)." in text
    mean = Averaged(epochs=(7, 9), ap=0.51, ap_of_best=0.5, kept=True)
    sentence = "Mean weights of epochs 7, 9: AP 0.5100, and 0.5000 of the best one: kept as the"
    assert sentence in words(averaged=mean)
    text = words(init="none", licence="", weights_source="trained from scratch")
    assert "Started from" not in text
    assert "not stated (from: trained from scratch)" in text


def test_page_refers_to_nothing_outside_itself(run: Path) -> None:
    checker = check(render_run(run))
    assert checker.tags.isdisjoint({"script", "link", "iframe", "object", "a", "form", "base"})
    assert all(value.startswith("data:image/jpeg;base64,") for name, value in checker.attributes
               if name in ("src", "href", "srcset"))  # fmt: skip
    assert not [name for name, _ in checker.attributes if name.startswith("on")]
    policy = next(value for name, value in checker.attributes if name == "content")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in render_run(run)
    assert "@import" not in render_run(run)


def test_hostile_names_are_shown_as_text(run: Path) -> None:
    checker = check(render_run(run))
    assert "script" not in checker.tags
    assert "run <b>1" in checker.words
    assert checker.words.count("<script>alert(1)</script>") >= 5
    assert "\x1b" not in checker.words


def test_page_tells_the_best_epoch_and_the_warnings(run: Path) -> None:
    words = check(render_run(run)).words
    assert "0.400best AP" in words
    assert "1best epoch of 3" in words
    assert "1 h 02 min" in words
    assert "unreliable" in words
    assert "unseen: -" in words


def test_report_that_cannot_be_read_is_named_and_the_page_is_made(run: Path) -> None:
    (run / "old.json").write_text('{"<b>": ', encoding="utf-8")
    words = check(render_run(run)).words
    assert "not read: " in words
    assert "old.json: not valid JSON" in words


def test_images_are_inside(run: Path) -> None:
    page = render_run(run)
    assert page.count('src="data:image/jpeg;base64,/9j/4G5vdCByZWFsbHkg') == 2
    for name in IMAGES:
        (run / name).unlink()
    assert "<img" not in render_run(run)


def test_run_that_has_only_begun_is_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    checker = check(render_run(tmp_path))
    assert "This run has not ended; epochs so far: 0." in checker.words


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a run folder"):
        render_run(tmp_path)
    with pytest.raises(ArtifactError, match="is no folder"):
        render_run(tmp_path / "lost")
