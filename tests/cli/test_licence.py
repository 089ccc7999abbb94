"""A licence from the imported file to everything that is made of it, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detkit.artifact.artifact import files_of
from detkit.artifact.embedded import embedded_text
from detkit.importing.yolo_nas import PUBLISHED_LICENCE
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import ZOO, with_task
from fixtures.command_line import Detkit

SMALL = "--imgsz 64 --epochs 1 --batch 4 --threads 1 --device cpu --set workers=0".split()
SOURCE = "theirs.pth, a YOLO-NAS checkpoint of super-gradients"
CLASSES = 3


@pytest.fixture
def data(detkit: Detkit, tmp_path: Path) -> Path:
    sizes = ("--train", "4", "--val", "2", "--test", "0", "--size", "64", "--classes", str(CLASSES))
    assert detkit("data", "synth", "-o", str(tmp_path / "coco"), *sizes).returncode == 0
    return tmp_path / "coco"


@pytest.fixture
def pth(tmp_path: Path) -> Path:
    """A small YOLO-NAS file as super-gradients writes them."""
    model = new_detector(with_task(ZOO["yolo-nas-p"], CLASSES, (64, 64)), 0)
    torch.save({"net": model.state_dict()}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


@pytest.fixture
def make(detkit: Detkit) -> Callable[..., tuple[Path, str]]:
    """`make(ARGS...)`: the path that a verb printed, and what it said on stderr."""

    def run(*args: str | Path) -> tuple[Path, str]:
        done = detkit(*map(str, args))
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.splitlines()[-1]), done.stderr

    return run


@pytest.fixture
def content(detkit: Detkit) -> Callable[[Path], dict[str, Any]]:
    """`content(file)`: its manifest, as `info --json` gives it."""

    def read(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(detkit("info", str(path), "--json").stdout)["content"]
        return found

    return read


def rows(text: str) -> dict[str, str]:
    """The lines of `info`: a name, blanks, a value."""
    return {name: value.strip() for name, _, value in (s.partition("  ") for s in text.split("\n"))}


def test_everything_made_of_published_weights_stays_under_their_licence(
    detkit: Detkit,
    make: Callable[..., tuple[Path, str]],
    content: Callable[[Path], dict[str, Any]],
    pth: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    imported, said = make("import", pth)
    assert said.count("warning: the published YOLO-NAS weights (Deci) are for non-commercial") == 1
    tuned, said = make("train", data, "--init", imported, *SMALL, "-o", tmp_path / "run")
    assert f"licence of the weights: {PUBLISHED_LICENCE}, inherited from {imported.name}" in said
    assert "warning" not in said
    fused, _ = make("reparam", tuned)
    quick = ("--threads", "1", "--set", "images=2", "--set", "noise_images=1")
    int8, said = make("quantize", "--int8", fused, "--data", data, *quick)
    assert f"licence of the weights: {PUBLISHED_LICENCE}" in said
    onnx, _ = make("export", fused)
    openvino, _ = make("export", "--to", "openvino", fused)
    for path in (imported, tuned, fused, int8, onnx, openvino):
        manifest = content(path)
        assert manifest["licence"] == PUBLISHED_LICENCE, path
        assert manifest["weights_source"] == SOURCE, path
    assert embedded_text(onnx, "license") == PUBLISHED_LICENCE
    assert f'<license value="{PUBLISHED_LICENCE}"' in openvino.read_text()
    report = json.loads((tuned.parent / "report.json").read_text())
    assert (report["licence"], report["weights_source"]) == (PUBLISHED_LICENCE, SOURCE)
    assert json.loads(int8.with_suffix(".json").read_text())["licence"] == PUBLISHED_LICENCE
    assert PUBLISHED_LICENCE in (tmp_path / "run" / "report.html").read_text()
    shown = rows(detkit("info", str(onnx)).stdout)
    assert (shown["licence"], shown["weights"]) == (PUBLISHED_LICENCE, SOURCE)


def test_a_stated_licence_of_a_fine_tune_is_recorded_beside_the_inherited_one(
    make: Callable[..., tuple[Path, str]],
    content: Callable[[Path], dict[str, Any]],
    pth: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    imported, _ = make("import", pth, "-q")
    run = ("train", data, "--init", imported, "--licence", "MIT", *SMALL, "-q")
    tuned, said = make(*run, "-o", tmp_path / "run")
    both = f"MIT AND {PUBLISHED_LICENCE}"
    assert said.startswith(f"warning: weights that start from {imported.name} stay under")
    assert said.rstrip().endswith(f"recorded: '{both}'")
    assert said.strip() in (tmp_path / "run" / "log.txt").read_text()
    assert content(tuned)["licence"] == both


def test_what_the_owner_of_weights_states_is_taken_and_nothing_is_said(
    detkit: Detkit,
    make: Callable[..., tuple[Path, str]],
    content: Callable[[Path], dict[str, Any]],
    pth: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    imported, said = make("import", pth, "--licence", "BSD-3-Clause")
    assert "non-commercial" not in said
    assert content(imported)["licence"] == "BSD-3-Clause"
    assert content(imported)["weights_source"] == SOURCE
    flags = ("--model", "yolo-nas-p", "--init", "none", *SMALL)
    scratch, said = make("train", data, *flags, "--licence", "my own", "-o", tmp_path / "a")
    assert content(scratch)["licence"] == "my own"
    assert content(scratch)["weights_source"] == "trained from scratch"
    unstated, _ = make("train", data, *flags, "-o", tmp_path / "b")
    assert content(unstated)["licence"] == ""
    assert rows(detkit("info", str(unstated)).stdout)["licence"] == "not stated"
    onnx, _ = make("export", unstated)
    with pytest.raises(Exception, match="carries no detkit manifest"):  # none under that key
        embedded_text(onnx, "license")
    bad = detkit("import", str(pth), "--licence", "a\nb", "-o", str(tmp_path / "c.safetensors"))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "one printable line" in bad.stderr


def test_an_engine_s_sidecar_carries_it(
    make: Callable[..., tuple[Path, str]], pth: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    imported, _ = make("import", pth)
    engine, _ = make("export", "--to", "tensorrt-rtx", imported, "-o", tmp_path / "m.engine")
    sidecar = json.loads(files_of(engine)[1].read_text())
    assert sidecar["manifest"]["licence"] == PUBLISHED_LICENCE


def test_a_search_from_licensed_weights_says_so(
    detkit: Detkit,
    make: Callable[..., tuple[Path, str]],
    content: Callable[[Path], dict[str, Any]],
    pth: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    imported, _ = make("import", pth)
    flags = "--space tiny --imgsz 64 --evaluator supernet --searcher random --trials 1".split()
    sets = ("supernet.epochs=1", "supernet.random_nets=0", "supernet.recalibration_batches=1")
    more = ("train.batch=2", "train.workers=0", "cost=macs", f"supernet.init={imported}")
    out = tmp_path / "searched"
    done = detkit(
        *("search", str(data), *flags, "-o", str(out)),
        *(word for text in (*sets, *more) for word in ("--set", text)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["licence"] == PUBLISHED_LICENCE
    assert f"licence of the weights: {PUBLISHED_LICENCE}" in (out / "pareto.html").read_text()
    assert content(Path(report["pareto"][0]["checkpoint"]))["licence"] == PUBLISHED_LICENCE
