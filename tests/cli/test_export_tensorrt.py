"""`detkit export` to engines: names, refusals and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.artifact.artifact import read_manifest
from detkit.core.errors import BackendError
from detkit.machine.gpu import find_gpu
from fixtures.command_line import Detkit

NO_TENSORRT = "import sys; sys.modules['tensorrt'] = sys.modules['tensorrt_rtx'] = None\n"
MAIN = "import sys; from detkit.cli.app import main; sys.exit(main())"


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt-rtx"])
def test_without_the_library_it_exits_4_and_names_it(
    detkit: Detkit, checkpoint: Path, tmp_path: Path, library: str
) -> None:
    args = ("export", "--to", library, str(checkpoint), "-o", str(tmp_path / "m.engine"))
    done = detkit(*args, script=NO_TENSORRT + MAIN)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"error: {library} is not installed here" in done.stderr
    assert f"hint: pip install 'detkit[{library}]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_engine_by_rtx_is_one_path_and_a_bench_of_it_needs_a_gpu(
    detkit: Detkit, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    out = tmp_path / "m.engine"
    args = ("export", "--to", "tensorrt-rtx", str(checkpoint), "-o", str(out))
    done = detkit(*args, "--half", "--batches", "1:2:4")
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert read_manifest(out).precision == "fp16"
    assert "batches: 1:2:4" in done.stderr
    info = json.loads(detkit("info", str(out), "--json").stdout)
    assert info["kind"] == "tensorrt-rtx"
    assert "--device cuda" in detkit("bench", str(out)).stderr
    try:
        find_gpu()
    except BackendError:
        done = detkit("bench", str(out), "--device", "cuda")
        assert done.returncode == 4
        assert "no NVIDIA GPU here" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--batches", "1:2"), "'1:2' are no batch sizes"),
        (("--batches", "one"), "'one' are no batch sizes"),
        (("--to", "tensorrt-rtx", "--batches", "4:2:8"), "batches 4:2:8 make no sense"),
        (("--to", "tensorrt-rtx", "--nms", "flat"), "--nms is not for engines: TensorRT-RTX reads"),
        (
            ("--to", "tensorrt", "--nms", "batched"),
            "not for engines: TensorRT's NMS has not",
        ),
        (("--to", "tensorr"), "cannot export to 'tensorr'"),
    ],
)
def test_flags_that_make_no_sense_exit_2(
    detkit: Detkit, checkpoint: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    done = detkit("export", str(checkpoint), *flags, "-o", str(tmp_path / "m.engine"))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
