"""Flags that mean the same on every verb; a verb takes those that mean something for it.

Use: `def bench(models: list[Path], quiet: Quiet = False, threads: Threads = 0)`. The `...Setting`
twins are None when not given, for verbs whose config file may say it instead.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from detkit.engines import ENGINES

PLAIN_KINDS = (str, int, float, bool)


def field_option(config: type, name: str, *, words: Iterable[str] = (), **more: Any) -> Any:
    """The flag that sets a field of a config: help, bounds, choices and default are the field's.

    Args:
        words: names that it takes beside others, such as those of a table; the verb checks them.
    """
    from detkit.config.fields import allowed_text, either

    (item,) = (item for item in dataclasses.fields(config) if item.name == name)
    text, known = item.metadata["help"], item.metadata
    names = tuple(words) or tuple(filter(None, known["choices"]))
    allowed = either(names) if names else allowed_text(known)
    hidden = item.default is False or item.default in ("", None)
    default = "" if hidden else f"default: {item.default}"
    notes = "; ".join(filter(None, (allowed, default)))
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{text[0].upper()}{text[1:]}{f' ({notes})' if notes else ''}.",
        min=known["least"],
        max=known["most"],
        autocompletion=(lambda: list(names)) if names else None,
        **more,
    )


def settings_given(config: type, given: Mapping[str, object]) -> dict[str, object]:
    """The flags of a verb that set a field of its config and were given, by the field's name.

    Args:
        given: parameters of the verb by name, as `locals()` has them first thing.
    """
    kinds = typing.get_type_hints(config)
    plain = (item.name for item in dataclasses.fields(config) if kinds[item.name] in PLAIN_KINDS)
    values = {name: given[name] for name in plain if given.get(name) is not None}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def _runtimes() -> list[str]:
    return list(ENGINES)


def _presets() -> list[str]:
    from detkit.spec.onnx_presets import PRESETS

    return list(PRESETS)


def _devices() -> list[str]:
    return ["auto", "cpu", "cuda"]


_OUT = typer.Option("--out", "-o", metavar="PATH", help="Where to write; the name is yours.")
_SEED = typer.Option("--seed", min=0, help="Seed of everything drawn at random.")
_DEVICE = typer.Option(
    "--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.", autocompletion=_devices
)
_THREADS = typer.Option("--threads", min=0, help="CPU threads; 0 leaves it to the engine.")
_RUNTIME = typer.Option(
    "--runtime",
    metavar="NAME",
    help=f"{', '.join(ENGINES)}; by default what the file is for.",
    autocompletion=_runtimes,
)
_ENGINE = typer.Option(
    "--runtime",
    metavar="NAME",
    help=f"{', '.join(ENGINES)}.",
    autocompletion=_runtimes,
)
_OUTPUTS = typer.Option(
    "--outputs",
    metavar="NAME",
    help="Of an ONNX file of another tool: yolov5, yolov8, detr, torchvision, ... or FILE.json.",
    autocompletion=_presets,
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]
Out = Annotated[Path | None, _OUT]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what already exists.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Seed = Annotated[int, _SEED]
SeedSetting = Annotated[int | None, _SEED]
Device = Annotated[str, _DEVICE]
DeviceSetting = Annotated[str | None, _DEVICE]
Threads = Annotated[int, _THREADS]
ThreadsSetting = Annotated[int | None, _THREADS]
Runtime = Annotated[str, _RUNTIME]
RuntimeSetting = Annotated[str | None, _ENGINE]
Outputs = Annotated[str, _OUTPUTS]
OutputsSetting = Annotated[str | None, _OUTPUTS]
OutputsOfEach = Annotated[list[str] | None, _OUTPUTS]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE.toml", help="Settings from a file."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated."),
]
ComparisonData = Annotated[
    Path | None,
    typer.Option("--data", help="COCO folder of comparison images; else the training data."),
]

# --- flags of the verbs that time models ---------------------------------------------------------

TimedImages = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of images; else the training data, or synthetic ones."),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images a run.")]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0, help="Seconds of timing a model, at least.")
]
Runs = Annotated[int, typer.Option("--runs", min=10, help="Timed runs of a model, at least.")]
MaxMs = Annotated[
    float | None, typer.Option("--max-ms", min=0, help="Exit 3 if it takes longer than this.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 5 if the times are unreliable.")]
UntrainedSize = Annotated[str, typer.Option("--imgsz", help="Input size, N or HEIGHTxWIDTH.")]
