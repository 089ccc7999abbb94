"""The completion files: up to date, and doing in each shell what they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from detkit.cli.command_flags import Flag
from detkit.cli.completion import SHELLS, command_tree
from detkit.cli.verb_table import VERBS
from fixtures.command_line import Detkit

FOLDER = Path(__file__).parents[2] / "completions"
SHELL_OF = {"detkit.bash": "bash", "_detkit": "zsh", "detkit.fish": "fish"}
FIRST_WORDS = {name.split()[0] for name in VERBS} | {"help"}

# Completes the words given as arguments; FILES stands for readline's own file names.
BASH = """
compopt() { echo FILES; }
source completions/detkit.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_detkit
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_shell(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here")
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def complete(*words: str) -> set[str]:
    return set(in_shell("bash", "--norc", "-c", BASH, "-", "detkit", *words).split())


@pytest.mark.parametrize("name", SHELLS)
def test_file_is_what_the_verbs_say(name: str) -> None:
    made = SHELLS[name](command_tree())
    assert (FOLDER / name).read_text(encoding="utf-8") == made, (
        "run: python -m detkit.cli.completion completions/"
    )


@pytest.mark.parametrize("name", SHELLS)
def test_file_has_no_syntax_error(name: str) -> None:
    in_shell(SHELL_OF[name], "-n", str(FOLDER / name))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), FIRST_WORDS | {"--help", "--version"}),
        (("re",), {"reparam", "report"}),
        (("help", "in"), {"info"}),
        (("data", ""), {"check", "convert", "label", "synth"}),
        (("data", "co"), {"convert"}),
        (("info", ""), {"FILES"}),
        (("info", "--j"), {"--json"}),
        (("train", "coco", "--res"), {"--resume"}),
        (("train", "coco", "--out", ""), {"FILES"}),
        (("train", "coco", "--epochs", ""), set()),
        (("eval", "m.onnx", "coco", "--runtime", "on"), {"onnxruntime"}),
        (("eval", "m.onnx", "coco", "--runtime", "=", "to"), {"torch"}),
        (("eval", "m.onnx", "coco", "--device", "="), {"auto", "cpu", "cuda"}),
        (("unknown", "--x"), set()),
    ],
)
def test_bash_completes(words: tuple[str, ...], expected: set[str]) -> None:
    assert complete(*words) == expected


def test_bash_completes_every_long_flag_of_every_verb() -> None:
    for verb, flags in command_tree().items():
        names = {name for flag in flags for name in flag.names if name.startswith("--")}
        assert complete(*verb.split(), "--") == names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("detkit ", FIRST_WORDS),
        ("detkit data c", {"check", "convert"}),
        ("detkit info --j", {"--json"}),
        (
            "detkit eval m.onnx coco --runtime ",
            {"torch", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"},
        ),
        ("detkit info completions/detkit.f", {"completions/detkit.fish"}),
    ],
)
def test_fish_completes(line: str, expected: set[str]) -> None:
    out = in_shell(
        "fish", "--no-config", "-c", f"source completions/detkit.fish; complete -C '{line}'"
    )
    assert {row.split("\t")[0] for row in out.splitlines()} == expected


@pytest.mark.parametrize("name", SHELLS)
def test_help_with_quotes_and_brackets_breaks_no_file(name: str, tmp_path: Path) -> None:
    nasty = 'It\'s [a] "hard" one: \\ $HOME `id` $(id) {x} ; | & #'
    flags = [
        Flag(names=(), value="FILE", help=nasty, takes_path=True),
        Flag(names=("-x", "--hard"), value="A:B]", help=nasty, choices=("one", "two")),
    ]
    path = tmp_path / name
    path.write_text(SHELLS[name]({"info": flags, "data check": flags}), encoding="utf-8")
    in_shell(SHELL_OF[name], "-n", str(path))


def test_generation_writes_what_is_compared(detkit: Detkit, tmp_path: Path) -> None:
    script = "import sys; from detkit.cli.completion import main; sys.exit(main(sys.argv[1:]))"
    assert detkit(str(tmp_path / "new"), script=script).returncode == 0
    for name in SHELLS:
        assert (tmp_path / "new" / name).read_bytes() == (FOLDER / name).read_bytes()
