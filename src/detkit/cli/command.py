"""One verb as a typer command: built from its function, helped in plain text, run.

What lives here: all that knows typer's machinery. Types are read from the function's own
annotations, not from typer's insides.
"""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import typer
from typer.core import TyperCommand

from detkit.cli.command_flags import Flag, SettingsHelp
from detkit.cli.habits import Taken, refuse_assignments, unknown_flag_hint
from detkit.cli.verb_table import Verb
from detkit.core.errors import UsageError

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PLACEHOLDERS = {int: "N", float: "X", Path: "PATH"}


class VerbCommand(TyperCommand):
    """A command with our help: arguments, flags, then lines of its module that are never wrapped.

    These are its `SETTINGS` (see `options.SettingsHelp`), where it has some, and `EXAMPLES[verb]`.
    """

    module: ModuleType
    function: Callable[..., None]

    @property
    def settings(self) -> SettingsHelp | None:
        found: SettingsHelp | None = getattr(self.module, "SETTINGS", None)
        return found

    @property
    def taken(self) -> Taken:
        """What the verb takes, for hints."""
        keys = self.settings.names() if self.settings else ()
        return Taken(verb=str(self.name), flags=self.flags(), settings=keys)

    def flags(self) -> list[Flag]:
        """Arguments first, then flags, each in the order of the signature."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        found = [_flag(param, hints.get(str(param.name), bool)) for param in self.params]
        return sorted(found, key=lambda flag: bool(flag.names))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*(flag.usage for flag in self.flags() if not flag.names), "[FLAGS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows = [(flag.label, flag.help) for flag in self.flags() if not flag.names]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        rows = [(flag.label, flag.help) for flag in self.flags() if flag.names]
        with formatter.section("Flags"):
            formatter.write_dl([*rows, ("-h, --help", "Show this text.")])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        examples = [f"  {line}" for line in self.module.EXAMPLES[self.name]]
        settings = [*self.settings.lines(), ""] if self.settings else []
        blocks = [*settings, "Examples:", *examples]
        formatter.write("\n" + "".join(f"{line}\n" for line in blocks))


def build(name: str, verb: Verb) -> VerbCommand:
    """The command of a verb. Imports the verb's module, and nothing that is heavy."""
    module_name, function = verb.target.split(":")
    module = importlib.import_module(module_name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=VerbCommand, context_settings=SETTINGS)(getattr(module, function))
    command = typer.main.get_command(app)
    assert isinstance(command, VerbCommand)
    command.module, command.function = module, getattr(module, function)
    return command


def run(name: str, verb: Verb, args: list[str]) -> int:
    """Parses `args` and calls the verb; returns 0, or the code of `typer.Exit`.

    Raises:
        UsageError: flags or arguments that typer refuses.
    """
    command, program = build(name, verb), f"detkit {name}"
    refuse_assignments(args, command.taken)
    try:
        with command.make_context(program, list(args)) as context:
            command.invoke(context)
    except typer.Exit as finished:
        return finished.exit_code
    except typer.TyperException as error:
        if hasattr(error, "possibilities"):  # of a flag that is not there
            flag = str(error.option_name)  # type: ignore[attr-defined]
            hint = unknown_flag_hint(flag, command.taken)
            raise UsageError(f"no such flag: {flag}", hint=hint) from error
        raise UsageError(_one_line(error), hint=f"{program} --help") from error
    return 0


def _one_line(error: typer.TyperException) -> str:
    text = re.sub(r"\s+", " ", error.format_message()).replace("Value error, ", "").rstrip(".")
    return text[:1].lower() + text[1:]


# --- what help and completions know of a parameter -----------------------------------------------


def _flag(param: Any, annotation: Any) -> Flag:
    leaves = list(_leaves(annotation))
    is_flag = param.param_type_name == "option"
    choices = tuple(leaf for leaf in leaves if isinstance(leaf, str))
    return Flag(
        names=(*reversed(param.opts), *param.secondary_opts) if is_flag else (),
        value="" if bool in leaves else _placeholder(param, leaves, choices),
        help=" ".join(filter(None, ((param.help or "").strip(), _remark(param, is_flag)))),
        choices=choices,
        takes_path=Path in leaves,
        repeats=bool(param.multiple) or param.nargs == -1,
        required=bool(param.required),
        suggest=_suggest(annotation),
    )


def _suggest(annotation: Any) -> Callable[[], Sequence[str]]:
    found = [
        getattr(item, "autocompletion", None) for item in getattr(annotation, "__metadata__", ())
    ]
    return next((item for item in found if item is not None), tuple)


def _leaves(annotation: Any) -> Iterator[Any]:
    """The plain types and literal strings an annotation is made of, without None."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _leaves(args[0])
    elif origin is Literal:
        yield from args
    elif origin in (typing.Union, types.UnionType, list, tuple):
        for arg in args:
            yield from _leaves(arg)
    elif annotation is not type(None):
        yield annotation


def _placeholder(param: Any, leaves: list[Any], choices: tuple[str, ...]) -> str:
    if param.metavar:
        return str(param.metavar)
    if param.param_type_name == "argument":
        return str(param.name).upper()
    return "|".join(choices) or PLACEHOLDERS.get(leaves[0], "TEXT")


def _remark(param: Any, is_flag: bool) -> str:
    value = param.default
    if is_flag and param.required:
        return "(required)"
    hidden = value is None or value is False or value in ("", ()) or callable(value)
    return "" if hidden else f"(default: {value})"
