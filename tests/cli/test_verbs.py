"""What every verb of the table keeps to: its help, its examples, flags that mean the same."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from detkit.cli.command import build
from detkit.cli.verb_table import VERBS
from detkit.engines import measuring_engines
from detkit.search.strategies import SEARCHERS
from detkit.spec.space import SPACES
from detkit.spec.zoo import ZOO
from fixtures.command_line import Detkit

HEAVY = ("torch", "numpy", "PIL", "rich", "onnx", "onnxruntime", "pycocotools", "safetensors")
NAMES = {
    "--json": ("--json",),
    "--force": ("--force",),
    "--out": ("-o", "--out"),
    "--quiet": ("-q", "--quiet"),
    "--verbose": ("-v", "--verbose"),
    "--config": ("-c", "--config"),
    "--set": ("--set",),
}


@pytest.mark.parametrize("name", VERBS)
def test_help_is_plain_ends_with_examples_and_imports_nothing_heavy(
    detkit: Detkit, name: str
) -> None:
    script = f"""
import sys
from detkit.cli.app import main
code = main({name.split()} + ["--help"])
print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
    done = detkit(script=script, env={"GITHUB_ACTIONS": "true", "FORCE_COLOR": "1"})
    assert (done.returncode, done.stderr) == (0, "\n")
    assert done.stdout.startswith(f"Usage: detkit {name} ")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    examples = lines[lines.index("Examples:") + 1 :]
    assert len(examples) >= 2
    assert all(line.startswith(f"  detkit {name} ") for line in examples)


@pytest.mark.parametrize("name", VERBS)
def test_examples_are_understood_by_the_verb(name: str) -> None:
    command = build(name, VERBS[name])
    for example in command.module.EXAMPLES[name]:
        words = shlex.split(example)
        end = min((words.index(word) for word in (">", "|") if word in words), default=len(words))
        command.make_context(name, words[1 + len(name.split()) : end])


@pytest.mark.parametrize("name", VERBS)
def test_line_of_the_table_opens_the_help_of_the_verb(name: str) -> None:
    command = build(name, VERBS[name])
    assert (command.help or "").startswith(VERBS[name].help.rstrip("."))
    assert len(VERBS[name].help) <= 70


@pytest.mark.parametrize(
    ("name", "flag", "words"),
    [
        ("train", "--model", ZOO),
        ("train", "--freeze", ("early", "backbone", "backbone+neck")),
        ("search", "--space", SPACES),
        ("search", "--searcher", SEARCHERS),
        ("profile", "--space", SPACES),
        ("quantize", "--target", measuring_engines()),
    ],
)
def test_help_and_completions_list_what_a_flag_takes(
    name: str, flag: str, words: dict[str, Any]
) -> None:
    (found,) = (item for item in build(name, VERBS[name]).flags() if flag in item.names)
    assert found.words() == tuple(words)
    assert all(word in found.help for word in words)


def test_a_flag_is_held_to_the_bounds_of_its_setting() -> None:
    command = build("train", VERBS["train"])
    for epochs, bound in (("-1", "0"), ("1000001", "1000000")):
        with pytest.raises(typer.TyperException, match=f"equal to {bound}$"):
            command.make_context("train", ["--epochs", epochs])


@pytest.mark.parametrize("name", VERBS)
def test_flags_have_help_and_mean_the_same_on_every_verb(name: str) -> None:
    for flag in build(name, VERBS[name]).flags():
        assert flag.help, f"detkit {name} {flag.label} has no help"
        for shared, names in NAMES.items():
            if shared in flag.names:
                assert flag.names == names
