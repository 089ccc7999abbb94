"""`detkit`: the plain top help, and the one place where an error becomes an exit code.

Nothing heavy is imported before a verb is known: not typer, rich, numpy, Pillow or torch.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import TextIO

from detkit.cli import console, streams
from detkit.cli.verb_table import VERBS
from detkit.core.errors import BackendError, DetkitError, DetkitWarning, UsageError, did_you_mean
from detkit.core.launch import find_launch
from detkit.core.lazy_import import install_hint
from detkit.core.memory import is_out_of_memory
from detkit.core.version import VERSION

EXIT_BUG = 70
EXIT_SIGINT, EXIT_SIGPIPE, EXIT_SIGTERM = 130, 141, 143
OUT_OF_MEMORY = DetkitError(
    "out of memory", hint="a smaller batch, image size or network needs less"
)


INTRO = """\
detkit takes a COCO folder to a measured real-time object detector on your device.

Usage: detkit VERB [ARGUMENTS] [FLAGS]        detkit VERB --help

The pipeline; every file says what it is, who its parents are and how it was made:
  detkit data check coco/                 what is wrong with the data, file by file
  detkit train coco/ -o runs/a            a YOLO-NAS, from starter weights where it has some
  detkit reparam BEST.safetensors         branches fused: the same boxes, less time
  detkit quantize --int8 MODEL --data coco/ --max-drop 0.3    INT8, its loss measured and bounded
  detkit export --to onnx MODEL           one ONNX file with decoded boxes and scores
  detkit bench MODEL...                   latency of the engine and end to end, measured here
  detkit eval MODEL coco/ --min-ap 0.45   COCO figures of any of these files, as a gate
"""

OUTRO = """\
Settings: defaults < -c FILE.toml < --set key=value < flags; `detkit train --help` lists all.
Streams:  stdout is data only (paths, tables, or one JSON object with --json), stderr the rest.
Network:  never used.

Exit codes:
  0  done                                  4    a backend or device is absent
  1  data, an artifact or the disk         5    a measurement that is unreliable
  2  a flag or a setting                   70   a bug of ours: please report it
  3  it ran, and a gate was not met        130, 143   interrupted, terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code of the process. Never raises for what a user did."""
    _prepare_process()
    try:
        if not find_launch().is_first:
            console.be_silent()
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        streams.write("")  # delivers what a library wrote
        return code
    except DetkitError as error:
        return _fail(error)
    except KeyboardInterrupt:
        console.error("interrupted")
        return EXIT_SIGINT
    except BrokenPipeError:
        streams.settle()
        return EXIT_SIGPIPE
    except OSError as error:
        streams.settle()
        return _fail(DetkitError(_os_message(error)))
    except ModuleNotFoundError as error:
        return _bug() if _is_ours(error) else _fail(_missing_package(error))
    except Exception as error:
        return _fail(OUT_OF_MEMORY) if is_out_of_memory(error) else _bug()


def top_help() -> str:
    """The text of `detkit --help`."""
    width = max(map(len, VERBS)) + 2
    verbs = "".join(f"  {name:<{width}}{verb.help}\n" for name, verb in VERBS.items())
    return f"{INTRO}\nVerbs:\n{verbs}\n{OUTRO}"


def _dispatch(args: list[str]) -> int:
    if not args or args in (["-h"], ["--help"], ["help"]):
        streams.write(top_help())
        return 0
    if args == ["--version"]:
        streams.write(f"detkit {_version()}\n")
        return 0
    if args[0] in ("help", "-h", "--help"):
        args = [*args[1:], "--help"]
    name, rest = _find_verb(args)
    if not name:
        streams.write(_group_help(args[0]))
        return 0
    if name == "bench":
        _check_moved(rest)
    _check_launch(name)
    from detkit.cli.command import run

    return run(name, VERBS[name], rest)


def _find_verb(args: list[str]) -> tuple[str, list[str]]:
    """The verb's name of one or two words and its arguments; no name where a group asks for help.

    Raises:
        UsageError: no such verb.
    """
    first, second = args[0], args[1] if len(args) > 1 else "--help"
    if first in VERBS:
        return first, args[1:]
    if first.startswith("-"):
        verb = next((word for word in args if word in VERBS), "VERB")
        hint = f"detkit {verb} {first} ..."
        raise UsageError(f"unknown flag '{first}' before the verb", hint=hint)
    group = [name.split()[1] for name in VERBS if name.startswith(f"{first} ")]
    if not group:
        from detkit.cli.habits import verb_hint

        verbs = {name.split()[0] for name in VERBS}
        hint = verb_hint(args, VERBS) or did_you_mean(first, verbs)
        raise UsageError(f"unknown verb '{first}'", hint=hint)
    if second in group:
        return f"{first} {second}", args[2:]
    if second in ("-h", "--help"):
        return "", []
    raise UsageError(f"unknown verb '{first} {second}'", hint=did_you_mean(second, group))


def _check_launch(name: str) -> None:
    """Raises UsageError where several processes were launched for a verb that is done by one."""
    launch = find_launch()
    if launch.processes > 1 and not VERBS[name].shared:
        able = " and ".join(verb for verb, known in VERBS.items() if known.shared)
        raise UsageError(
            f"detkit {name} is done by one process, and torchrun launched {launch.processes}",
            hint=f"run it without torchrun, which is for {able}",
        )


def _check_moved(words: list[str]) -> None:
    """Raises UsageError for what `detkit bench` hands to a verb of its own, naming it."""
    for word in words:
        if word in ("--compare", "--advise", "--profile"):
            raise UsageError(f"bench has no {word}", hint=f"detkit {word[2:]} --help")
        if word.endswith("pareto.json"):
            raise UsageError(f"{word} is the front of a search", hint=f"detkit profile {word}")


def _group_help(group: str) -> str:
    rows = {name: verb for name, verb in VERBS.items() if name.startswith(f"{group} ")}
    lines = "".join(f"  detkit {name:<16}{verb.help}\n" for name, verb in rows.items())
    return f"Usage: detkit {group} VERB [ARGUMENTS] [FLAGS]\n\n{lines}"


def _version() -> str:
    return VERSION


# --- the process ---------------------------------------------------------------------------------


def _prepare_process() -> None:
    """Prepares the streams, shows our warnings on stderr, and lets SIGTERM unwind.

    So temporary files go.
    """
    streams.prepare()
    warnings.simplefilter("always", DetkitWarning)
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Shows our own warnings as verbs do, others as Python does."""
    if issubclass(category, DetkitWarning):
        console.warn(str(message))
    else:
        console.traceback_lines(warnings.formatwarning(message, category, filename, lineno, line))


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_SIGTERM)


# --- errors --------------------------------------------------------------------------------------


def _fail(error: DetkitError) -> int:
    if console.is_verbose():
        console.traceback_lines(traceback.format_exc())
    console.error(str(error), hint=error.hint)
    return error.exit_code


def _bug() -> int:
    console.traceback_lines(traceback.format_exc())
    console.error(f"this is a bug in detkit {_version()}: please report it with the lines above")
    return EXIT_BUG


def _os_message(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "detkit").split(".")[0] == "detkit"


def _missing_package(error: ModuleNotFoundError) -> DetkitError:
    package = (error.name or "").split(".")[0]
    return BackendError(
        f"this verb needs {package}, which is not installed here", hint=install_hint(package)
    )
