"""Words of other tools get the line to type here, and that line is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from detkit.cli.command import VerbCommand, build
from detkit.cli.habits import (
    FLAGS_OF_OTHERS,
    VERBS_OF_OTHERS,
    refuse_assignments,
    unknown_flag_hint,
    verb_hint,
)
from detkit.cli.verb_table import VERBS
from detkit.core.errors import UsageError


def command_of(verb: str) -> VerbCommand:
    return build(verb, VERBS[verb])


@pytest.mark.parametrize(
    ("verb", "flag", "hint"),
    [
        ("train", "--lr", "--set optim.lr=VALUE"),
        ("train", "--lr0", "--set optim.lr=VALUE"),
        ("train", "--workers", "--set workers=VALUE"),
        ("train", "--data", "DATA is an argument, without a flag: detkit train DATA"),
        ("train", "--pretrained", "--init FILE|NAME"),
        ("train", "--weights", "--init FILE|NAME"),
        ("train", "--batch-size", "--batch N|auto"),
        ("train", "--img-size", "--imgsz TEXT"),
        ("train", "--project", "--out PATH"),
        ("train", "--exist-ok", "--force"),
        ("train", "--epoch", "did you mean --epochs N?"),
        ("train", "--moasic", "did you mean --set augment.mosaic=VALUE?"),
        ("train", "--zzz", "detkit train --help"),
        ("eval", "--weights", "MODEL is an argument, without a flag: detkit eval MODEL"),
        ("predict", "--source", "IMAGES is an argument, without a flag: detkit predict IMAGES"),
        ("predict", "--conf-thres", "--conf X"),
        ("export", "--format", "--to TEXT"),
        ("export", "--include", "--to TEXT"),
        ("search", "--lr", "--set train.optim.lr=VALUE"),
        ("data label", "--confidence", "--score X"),
    ],
)
def test_flags_of_other_tools_get_what_is_meant(verb: str, flag: str, hint: str) -> None:
    assert unknown_flag_hint(flag, command_of(verb).taken) == hint


@pytest.mark.parametrize(
    ("verb", "args", "line"),
    [
        (
            "train",
            "data=coco model=yolo-nas-n epochs=3 lr0=0.01 imgsz=320",
            "detkit train coco --model yolo-nas-n --epochs 3 --set optim.lr=0.01 --imgsz 320",
        ),
        ("train", "-q --seed 3 data=coco", "detkit train coco -q --seed 3"),
        (
            "predict",
            "model=a.onnx source=photos conf=0.3 project=drawn",
            "detkit predict a.onnx photos --conf 0.3 --out drawn",
        ),
        (
            "predict",
            "source=photos conf=0.3 model=a.onnx",
            "detkit predict a.onnx photos --conf 0.3 -o DIR",
        ),
        ("export", "a.safetensors format=onnx", "detkit export a.safetensors --to onnx"),
        (
            "data convert",
            "source=yolo format=yolo",
            "detkit data convert yolo --from yolo -o DIR",
        ),
        ("export", "format=onnx", "detkit export CHECKPOINT --to onnx"),
        ("train", "'data=two words'", "detkit train 'two words'"),
    ],
)
def test_key_value_arguments_get_the_line_to_type(verb: str, args: str, line: str) -> None:
    command = command_of(verb)
    with pytest.raises(UsageError, match="key=value") as raised:
        refuse_assignments(shlex.split(args), command.taken)
    assert raised.value.hint == line
    context = command.make_context(
        "detkit", shlex.split(line)[1 + len(verb.split()) :]
    )  # typer understands it
    assert context.params


def test_keys_that_mean_nothing_are_named() -> None:
    with pytest.raises(UsageError, match=r"nothing is called foo, bar$") as raised:
        refuse_assignments(["foo=1", "data=a", "bar=2"], command_of("train").taken)
    assert raised.value.hint == "detkit train a"


def test_values_of_flags_and_files_are_no_such_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    refuse_assignments(["coco", "--set", "optim.lr=3", "a=b"], command_of("train").taken)


def test_verbs_of_other_tools_get_ours() -> None:
    assert verb_hint(["val", "x"], VERBS) == "detkit eval"
    assert verb_hint(["detect", "train", "data=x"], VERBS) == "detkit train"
    assert verb_hint(["detect", "photos"], VERBS) == "detkit predict"
    assert verb_hint(["sing"], VERBS) == ""


def test_tables_name_what_is_there() -> None:
    for line in VERBS_OF_OTHERS.values():
        verb = re.split(r" ?--", line)[0]
        assert verb in {*VERBS, ""}
    taken = [command_of(verb).taken for verb in VERBS]
    for names in FLAGS_OF_OTHERS.values():
        for name in names:
            assert any(each.spelling(name) for each in taken), name
