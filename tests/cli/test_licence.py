"""A licence from the imported file to everything that is made of it, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detkit.artifact.artifact import files_of, read_manifest
from detkit.artifact.embedded import embedded_text
from detkit.data.synthetic.synth import synthesize
from detkit.importing.yolo_nas import PUBLISHED_LICENCE
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import ZOO, with_task
from fixtures.command_line import Detkit
from fixtures.verbs import Done, RunAll

SMALL = "--imgsz 64 --epochs 1 --batch 4 --threads 1 --device cpu --set workers=0".split()
SOURCE = "theirs.pth, a YOLO-NAS checkpoint of super-gradients"
CLASSES = 3


SUPERNET = "--space tiny --imgsz 64 --evaluator supernet --searcher random --trials 1".split()
SUPERNET += "--set supernet.epochs=1 --set supernet.random_nets=0 --set cost=macs".split()
SUPERNET += "--set supernet.recalibration_batches=1 --set train.batch=2".split()
SUPERNET += "--set train.workers=0".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    return synthesize(folder, images={"train": 4, "val": 2}, size=64, classes=CLASSES)


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small YOLO-NAS file as super-gradients writes them."""
    path = tmp_path_factory.mktemp("theirs") / "theirs.pth"
    model = new_detector(with_task(ZOO["yolo-nas-p"], CLASSES, (64, 64)), 0)
    torch.save({"net": model.state_dict()}, path)
    return path


@pytest.fixture
def succeed(run_all: RunAll) -> Callable[..., list[Done]]:
    """`succeed([VERB, ARGS...], ...)`: as `run_all`, of verbs that all exit with 0."""

    def run(*commands: list[Any]) -> list[Done]:
        found = run_all(*commands)
        for command, done in zip(commands, found, strict=True):
            assert done.code == 0, (command, done.stderr)
        return found

    return run


def content(done: Done) -> dict[str, Any]:
    """The manifest that `info --json` gave."""
    found: dict[str, Any] = json.loads(done.stdout)["content"]
    return found


def rows(text: str) -> dict[str, str]:
    """The lines of `info`: a name, blanks, a value."""
    return {name: value.strip() for name, _, value in (s.partition("  ") for s in text.split("\n"))}


def test_everything_made_of_published_weights_stays_under_their_licence(
    succeed: Callable[..., list[Done]], pth: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    imported, onnx, openvino = tmp_path / "m.safetensors", run / "m.onnx", run / "m.xml"
    tuned, fused, int8 = (run / f"{name}.safetensors" for name in ("best", "fused", "int8"))
    made = (imported, tuned, fused, int8, onnx, openvino)
    quick = ("--threads", 1, "--set", "images=2", "--set", "noise_images=1")
    done = succeed(
        ["import", pth, "-o", imported],
        ["train", data, "--init", imported, *SMALL, "-o", run],
        ["reparam", tuned, "-o", fused],
        ["quantize", "--int8", fused, "--data", data, *quick, "-o", int8],
        ["export", fused, "-o", onnx],
        ["export", "--to", "openvino", fused, "-o", openvino],
        ["info", onnx],
        *(["info", path, "--json"] for path in made),
    )
    said = [one.stderr for one in done]
    assert said[0].count("warning: the published YOLO-NAS weights (Deci) are for non-comm") == 1
    assert f"licence of the weights: {PUBLISHED_LICENCE}, inherited from {imported.name}" in said[1]
    assert "warning" not in said[1]
    assert f"licence of the weights: {PUBLISHED_LICENCE}" in said[3]
    for path, one in zip(made, done[-len(made) :], strict=True):
        assert content(one)["licence"] == PUBLISHED_LICENCE, path
        assert content(one)["weights_source"] == SOURCE, path
    assert embedded_text(onnx, "license") == PUBLISHED_LICENCE
    assert f'<license value="{PUBLISHED_LICENCE}"' in openvino.read_text()
    report = json.loads((run / "report.json").read_text())
    assert (report["licence"], report["weights_source"]) == (PUBLISHED_LICENCE, SOURCE)
    assert json.loads(int8.with_suffix(".json").read_text())["licence"] == PUBLISHED_LICENCE
    assert PUBLISHED_LICENCE in (run / "report.html").read_text()
    shown = rows(done[6].stdout)
    assert (shown["licence"], shown["weights"]) == (PUBLISHED_LICENCE, SOURCE)


def test_a_stated_licence_of_a_fine_tune_is_recorded_beside_the_inherited_one(
    succeed: Callable[..., list[Done]], pth: Path, data: Path, tmp_path: Path
) -> None:
    imported, run = tmp_path / "m.safetensors", tmp_path / "run"
    _, trained, shown = succeed(
        ["import", pth, "-q", "-o", imported],
        ["train", data, "--init", imported, "--licence", "MIT", *SMALL, "-q", "-o", run],
        ["info", run / "best.safetensors", "--json"],
    )
    both = f"MIT AND {PUBLISHED_LICENCE}"
    assert trained.stderr.startswith(f"warning: weights that start from {imported.name} stay under")
    assert trained.stderr.rstrip().endswith(f"recorded: '{both}'")
    assert trained.stderr.strip() in (run / "log.txt").read_text()
    assert content(shown)["licence"] == both


def test_what_the_owner_of_weights_states_is_taken_and_nothing_is_said(
    succeed: Callable[..., list[Done]], pth: Path, data: Path, tmp_path: Path
) -> None:
    imported, onnx = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    stated, unstated = (tmp_path / name / "best.safetensors" for name in ("a", "b"))
    train = ["train", data, "--model", "yolo-nas-p", "--init", "none", *SMALL, "-o"]
    done = succeed(
        ["import", pth, "--licence", "BSD-3-Clause", "-o", imported],
        ["info", imported, "--json"],
        [*train, stated.parent, "--licence", "my own"],
        ["info", stated, "--json"],
        [*train, unstated.parent],
        ["info", unstated, "--json"],
        ["info", unstated],
        ["export", unstated, "-o", onnx],
    )
    assert "non-commercial" not in done[0].stderr
    assert content(done[1])["licence"] == "BSD-3-Clause"
    assert content(done[1])["weights_source"] == SOURCE
    assert content(done[3])["licence"] == "my own"
    assert content(done[3])["weights_source"] == "trained from scratch"
    assert content(done[5])["licence"] == ""
    assert rows(done[6].stdout)["licence"] == "not stated"
    with pytest.raises(Exception, match="carries no detkit manifest"):  # none under that key
        embedded_text(onnx, "license")


def test_a_licence_is_one_line(detkit: Detkit, pth: Path, tmp_path: Path) -> None:
    bad = detkit("import", str(pth), "--licence", "a\nb", "-o", str(tmp_path / "c.safetensors"))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "one printable line" in bad.stderr


def test_an_engine_s_sidecar_carries_it(
    succeed: Callable[..., list[Done]], pth: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    imported, engine = tmp_path / "m.safetensors", tmp_path / "m.engine"
    succeed(
        ["import", pth, "-o", imported],
        ["export", "--to", "tensorrt-rtx", imported, "-o", engine],
    )
    sidecar = json.loads(files_of(engine)[1].read_text())
    assert sidecar["manifest"]["licence"] == PUBLISHED_LICENCE


def test_a_search_from_licensed_weights_says_so(
    succeed: Callable[..., list[Done]], pth: Path, data: Path, tmp_path: Path
) -> None:
    imported, out = tmp_path / "m.safetensors", tmp_path / "searched"
    succeed(
        ["import", pth, "-o", imported],
        ["search", data, *SUPERNET, "--set", f"supernet.init={imported}", "-o", out],
    )
    report = json.loads((out / "report.json").read_text())
    assert report["licence"] == PUBLISHED_LICENCE
    assert f"licence of the weights: {PUBLISHED_LICENCE}" in (out / "pareto.html").read_text()
    best = Path(report["pareto"][0]["checkpoint"])
    assert read_manifest(best).licence == PUBLISHED_LICENCE
