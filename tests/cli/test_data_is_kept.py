"""No verb that writes writes into a folder of data, whatever it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.cli.command import build, run
from detkit.cli.verb_table import VERBS
from detkit.core.errors import UsageError

ABSENT = "absent.safetensors"
WORDS = {  # of each verb that takes -o, but for that; DATA stands for the folder
    "train": ("DATA", "--model", "yolo-nas-p"),
    "eval": (ABSENT, "DATA"),
    "predict": (ABSENT, "DATA"),
    "import": ("absent.pth",),
    "reparam": (ABSENT,),
    "quantize": ("--int8", ABSENT, "--data", "DATA"),
    "export": ("--to", "onnx", ABSENT),
    "bench": (ABSENT,),
    "compare": ("yolo-nas-p",),
    "advise": (ABSENT, "--data", "DATA"),
    "profile": ("--samples", "8"),
    "search": ("--space", "tiny", "--imgsz", "64"),
    "report": ("RUN",),
    "data label": ("DATA", "--model", ABSENT),
    "data convert": ("RUN", "--from", "yolo"),
    "data synth": (),
}
SUFFIXES = {"export": ".onnx"} | dict.fromkeys(("import", "reparam", "quantize"), ".safetensors")


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_every_verb_that_writes_is_tried_here() -> None:
    writing = {
        name
        for name, verb in VERBS.items()
        if any("--out" in flag.names for flag in build(name, verb).flags())
    }
    assert writing == set(WORDS)


@pytest.mark.parametrize("verb", WORDS)
def test_data_is_never_written_to(cell_folder: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1, "ap": 0.5}\n')
    stand_for = {"DATA": str(cell_folder), "RUN": str(tmp_path / "run")}
    words = [stand_for.get(word, word) for word in WORDS[verb]]
    words += [] if verb == "report" else ["--force"]  # whose page is always made again
    place = cell_folder / "images" / f"new{SUFFIXES.get(verb, '')}"
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="which is never written to"):
        run(verb, VERBS[verb], [*words, "-o", str(place)])
    assert contents(tmp_path) == before
