"""Every line that the source tells people to type names a verb, flags and settings that exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import detkit
from detkit.cli.command import build
from detkit.cli.verb_table import VERBS

ROOT = Path(detkit.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
SETTING = re.compile(r"--set ([a-z_]+(?:\.[a-z_]+)*)=")
LINE = re.compile(r"\bdetkit ((?:data )?[a-z]+)((?:(?!  )[^;`()])*)")
# Of Python's tools, NVIDIA's, Ray, torchrun and the trainers that other checkpoints come from.
ELSEWHERE = {"--help", "--version", "--weights", "--include", "--lock-gpu-clocks"}
ELSEWHERE |= {"--address", "--resources", "--head", "--include-dashboard", "--nproc-per-node"}
PROSE = set(
    "and artifact cannot checkpoint did does embeds folder has install is itself json knows made"
    " manifest never of reads report run runs takes trains writes wrote".split()
)


@functools.cache
def texts(file: Path) -> tuple[str, ...]:
    """The lines of all strings of a file but its docstrings; what is put into them is `X`.

    Single words are no lines to type.
    """
    found = _texts(ast.parse(file.read_text(encoding="utf-8")))
    return tuple(line for text in found for line in text.splitlines() if " " in line)


def _texts(tree: ast.Module) -> Iterator[str]:
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    for text in joined:
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in text.values)
    others = {id(value) for text in joined for value in text.values}
    others |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in others
        ):
            yield node.value


FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for file in ROOT.rglob("*.py")
    if file.name != "completion.py"  # writes programs of shells
    and any("detkit " in text or FLAG.search(text) for text in texts(file))
)


@pytest.fixture(scope="module")
def flags_of() -> dict[str, set[str]]:
    """The flags of each verb, `--help` among them."""
    return {
        name: {"--help", *(n for flag in build(name, verb).flags() for n in flag.names)}
        for name, verb in VERBS.items()
    }


@pytest.fixture(scope="module")
def settings() -> set[str]:
    found = (build(name, verb).settings for name, verb in VERBS.items())
    return {"key", *(key for each in found if each for key in each.names())}


@pytest.mark.parametrize("file", FILES)
def test_lines_to_type_name_what_exists(
    file: str, flags_of: dict[str, set[str]], settings: set[str]
) -> None:
    known = ELSEWHERE.union(*flags_of.values())
    for text in texts(ROOT / file):
        assert set(SETTING.findall(text)) <= settings, text
        assert set(FLAG.findall(text)) <= known, text
        for verb, rest in LINE.findall(text):
            if verb in VERBS:
                assert set(FLAG.findall(rest)) <= flags_of[verb], text
            else:
                assert verb in PROSE | {name.split()[0] for name in VERBS}, text
