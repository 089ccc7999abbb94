"""Exit codes, streams and what is (not) imported, in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from detkit.cli.app import top_help
from detkit.cli.verb_table import VERBS
from fixtures.command_line import Detkit
from fixtures.processes import StartProcess

HEAVY = ("torch", "numpy", "PIL", "rich", "typer", "onnx", "onnxruntime", "pycocotools")

# Puts a verb of our own in the table; BODY is what it does.
FAKE_VERB = """
import sys, types
from pathlib import Path
from typing import Annotated, Literal
import typer
from detkit.cli import app, console
from detkit.cli.verb_table import VERBS, Verb
from detkit.cli.options import Json, Quiet, Seed, Sets, Verbose
from detkit.core.errors import DetkitError, GateError

module = types.ModuleType("fake_verb")
module.EXAMPLES = {"fake": ("detkit fake   a 'b  c'", "detkit fake " + "x" * 120)}
class SETTINGS:
    lines = staticmethod(lambda: ["Settings:", "  lr=1.0      the [peak] rate"])
    names = staticmethod(lambda: ["lr"])
module.SETTINGS = SETTINGS

def fake(
    file: Annotated[Path, typer.Argument(help="A file [of] ours.")],
    to: Annotated[Literal["onnx", "engine"], typer.Option(help="What to make.")] = "onnx",
    epochs: Annotated[int | None, typer.Option(min=1, help="How many.")] = None,
    offset: Annotated[float, typer.Option(help="May be negative.")] = 0.0,
    quiet: Quiet = False, verbose: Verbose = False, sets: Sets = None, seed: Seed = 0,
) -> None:
    '''Do one thing.'''
    console.setup(quiet, verbose)
    BODY

module.fake = fake
sys.modules["fake_verb"] = module
VERBS["fake"] = Verb("fake_verb:fake", "Do one thing.")
sys.exit(app.main())
"""


def fake_verb(body: str = "print(file)") -> str:
    return FAKE_VERB.replace("BODY", body)


@pytest.mark.parametrize("args", [(), ("-h",), ("--help",), ("help",)])
def test_top_help_names_every_verb_on_stdout(detkit: Detkit, args: tuple[str, ...]) -> None:
    done = detkit(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == top_help()
    assert all(f"  {name} " in done.stdout for name in VERBS)


@pytest.mark.parametrize("args", ["", "--help", "--version", "trian", "data"])
def test_help_version_and_mistakes_import_nothing_heavy(detkit: Detkit, args: str) -> None:
    script = f"""
import sys
from detkit.cli.app import main
main({args.split()})
print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
    assert detkit(script=script).stderr.splitlines()[-1] == ""


def test_top_help_fits_a_terminal() -> None:
    assert max(map(len, top_help().splitlines())) <= 100
    assert top_help().isascii()


def test_unknown_verb_suggests_the_near_one_and_exits_2(detkit: Detkit) -> None:
    done = detkit("trian", "coco")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown verb 'trian'\nhint: did you mean 'train'?\n"


def test_unknown_verb_of_a_group_exits_2(detkit: Detkit) -> None:
    done = detkit("data", "chekc")
    assert done.returncode == 2
    assert done.stderr == "error: unknown verb 'data chekc'\nhint: did you mean 'check'?\n"


def test_flag_before_the_verb_exits_2(detkit: Detkit) -> None:
    done = detkit("--quiet", "info")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown flag '--quiet' before the verb\n")


def test_group_alone_lists_its_verbs(detkit: Detkit) -> None:
    done = detkit("data")
    assert done.returncode == 0
    assert done.stdout.count("detkit data ") == 5  # usage and four verbs


def test_data_of_a_verb_is_on_stdout_only(detkit: Detkit) -> None:
    done = detkit("fake", "a.txt", script=fake_verb("console.log('busy'); print(file)"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.txt\n", "busy\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "missing argument 'file'"),
        (("a", "--to", "onx"), "invalid value for '--to': 'onx' is not one of 'onnx', 'engine'"),
        (("a", "--to"), "option '--to' requires an argument"),
        (("a", "b\x1b[31m"), "got unexpected extra argument(s) (b\\x1b[31m)"),
    ],
)
def test_usage_errors_are_two_lines_and_exit_2(
    detkit: Detkit, args: tuple[str, ...], message: str
) -> None:
    done = detkit("fake", *args, script=fake_verb())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}\nhint: detkit fake --help\n"


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (("--epoch", "3"), "no such flag: --epoch", "did you mean --epochs N?"),
        (("--lr0", "3"), "no such flag: --lr0", "--set lr=VALUE"),
        (("epochs=3",), "values are given by flags here, not as key=value", "a --epochs 3"),
    ],
)
def test_words_of_other_tools_exit_2_with_the_line_to_type(
    detkit: Detkit, args: tuple[str, ...], message: str, hint: str
) -> None:
    done = detkit("fake", "a", *args, script=fake_verb())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")
    assert done.stderr.endswith(f"{hint}\n")


def test_number_out_of_range_exits_2(detkit: Detkit) -> None:
    done = detkit("fake", "a", "--epochs", "0", script=fake_verb())
    assert done.returncode == 2
    assert done.stderr.startswith("error: invalid value for '--epochs': ")


def test_negative_number_is_a_value_not_a_flag(detkit: Detkit) -> None:
    done = detkit("fake", "a", "--offset", "-1.5", script=fake_verb("print(offset)"))
    assert done.stdout == "-1.5\n"


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("raise DetkitError('a\\x1b]0;x', hint='mend')", 1, "error: a\\x1b]0;x\nhint: mend\n"),
        ("raise GateError('ap 0.3 < 0.4')", 3, "error: ap 0.3 < 0.4\n"),
        ("raise typer.Exit(5)", 5, ""),
        ("Path('/no/such').open()", 1, "error: /no/such: No such file or directory\n"),
        (
            "import lost.x",
            4,
            "error: this verb needs lost, which is not installed here\nhint: pip install lost\n",
        ),
        ("raise KeyboardInterrupt", 130, "error: interrupted\n"),
    ],
)
def test_what_a_verb_raises_decides_the_exit_code(
    detkit: Detkit, body: str, code: int, stderr: str
) -> None:
    done = detkit("fake", "a", script=fake_verb(body))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)


@pytest.mark.parametrize(
    "error", ["MemoryError", 'RuntimeError("DefaultCPUAllocator: can\'t allocate memory")']
)
def test_out_of_memory_is_no_traceback(detkit: Detkit, error: str) -> None:
    done = detkit("fake", "a", script=fake_verb(f"raise {error}"))
    assert done.stderr.startswith("error: out of memory\nhint: ")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize("body", ["{}['x\\x1b[2J']", "import detkit.no_such_room"])
def test_bug_of_ours_is_a_traceback_a_plea_and_exit_70(detkit: Detkit, body: str) -> None:
    done = detkit("fake", "a", script=fake_verb(body))
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert "please report it" in done.stderr.splitlines()[-1]
    assert "\x1b" not in done.stderr


def test_verbose_adds_the_traceback_of_a_user_error(detkit: Detkit) -> None:
    done = detkit("fake", "a", "-v", script=fake_verb("raise DetkitError('bad')"))
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("\nerror: bad\n")


def test_verb_help_is_plain_and_ends_with_unwrapped_examples(detkit: Detkit) -> None:
    colours = {"GITHUB_ACTIONS": "true", "FORCE_COLOR": "1", "COLUMNS": "60"}
    done = detkit("fake", "--help", script=fake_verb(), env=colours)
    assert (done.returncode, done.stderr, "\x1b" in done.stdout) == (0, "", False)
    lines = done.stdout.splitlines()
    assert lines[0] == "Usage: detkit fake FILE [FLAGS]"
    assert lines[-3:] == ["Examples:", "  detkit fake   a 'b  c'", "  detkit fake " + "x" * 120]
    assert "  lr=1.0      the [peak] rate" in lines
    assert "  --to onnx|engine " in done.stdout
    for asked in ("help", "--help"):
        assert detkit(asked, "fake", script=fake_verb(), env=colours).stdout == done.stdout


def test_unicode_file_names_survive_an_ascii_locale(detkit: Detkit) -> None:
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = detkit("fake", "\u6587.txt", script=fake_verb("print(file)"), env=env)
    assert (done.returncode, done.stdout) == (0, "\u6587.txt\n")


def test_closed_pipe_is_quiet(start_process: StartProcess) -> None:
    code = fake_verb("[print('x' * 1000) for _ in range(1000)]")
    process = start_process(sys.executable, "-c", code, "fake", "a")
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (141, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_unwind_and_exit_with_their_code(
    start_process: StartProcess, tmp_path: Path, number: int, code: int
) -> None:
    partial = tmp_path / "partial"
    body = f"""
    import time
    try:
        Path({str(partial)!r}).touch()
        print("ready", flush=True)
        time.sleep(60)
    finally:
        Path({str(partial)!r}).unlink()"""
    process = start_process(sys.executable, "-c", fake_verb(body), "fake", "a")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert not partial.exists()
