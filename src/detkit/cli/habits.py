"""What people who come from other tools type, answered with the line to type here.

Hints of errors only: nothing is put in the place of what was typed.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.cli.command_flags import Flag
from detkit.core.errors import UsageError

# Verbs of other tools.
VERBS_OF_OTHERS = {
    "benchmark": "bench",
    "calibrate": "quantize --int8",
    "check": "data check",
    "convert": "data convert",
    "detect": "predict",
    "evaluate": "eval",
    "finetune": "train",
    "fuse": "reparam",
    "infer": "predict",
    "inference": "predict",
    "label": "data label",
    "nas": "search",
    "ptq": "quantize --int8",
    "qat": "quantize --int8 --qat",
    "summary": "info",
    "synth": "data synth",
    "test": "eval",
    "track": "predict",
    "tune": "search",
    "val": "eval",
    "validate": "eval",
    "validation": "eval",
    "version": "--version",
}
# Flags of other tools: what may be meant, in the order it is looked for among what the verb takes.
FLAGS_OF_OTHERS: dict[str, tuple[str, ...]] = {
    "algo": ("searcher",),
    "algorithm": ("searcher",),
    "arch": ("model",),
    "batch-size": ("batch",),
    "bs": ("batch",),
    "calib": ("data",),
    "calib-data": ("data",),
    "calibration-data": ("data",),
    "cfg": ("model", "config"),
    "checkpoint": ("init", "model"),
    "conf-thres": ("conf", "score"),
    "confidence": ("conf", "score"),
    "close-mosaic": ("close_epochs",),
    "coco": ("data",),
    "conf": ("score",),
    "dataset": ("data", "src"),
    "degrees": ("degrees",),
    "ema-decay": ("ema",),
    "exist-ok": ("force",),
    "fliplr": ("flip",),
    "flipud": ("flip_vertical",),
    "format": ("to", "from"),
    "fp16": ("half", "precision"),
    "freeze-layers": ("freeze",),
    "gpu": ("device",),
    "gpus": ("device",),
    "half": ("precision",),
    "hsv-h": ("hue",),
    "hsv-s": ("saturation",),
    "hsv-v": ("brightness",),
    "image-size": ("imgsz", "size"),
    "images": ("images", "data"),
    "img": ("imgsz", "size"),
    "img-size": ("imgsz", "size"),
    "include": ("to",),
    "input": ("images", "file"),
    "input-size": ("imgsz", "size"),
    "iou-thres": ("iou",),
    "iterations": ("runs",),
    "iters": ("runs",),
    "learning-rate": ("lr",),
    "lr0": ("lr",),
    "lrf": ("final_lr",),
    "max-det": ("max_boxes",),
    "name": ("out",),
    "nbs": ("nominal_batch",),
    "num-epochs": ("epochs",),
    "num-workers": ("workers",),
    "output": ("out",),
    "output-dir": ("out",),
    "overwrite": ("force",),
    "path": ("data", "images", "file"),
    "pretrained": ("init",),
    "project": ("out",),
    "quiet": ("quiet",),
    "save-dir": ("out",),
    "size": ("imgsz",),
    "source": ("images", "src"),
    "src": ("src",),
    "strategy": ("searcher",),
    "val": ("data",),
    "warmup": ("warmup_epochs",),
    "wd": ("weight_decay",),
    "weights": ("init", "model", "checkpoint", "file"),
}
SETTING = re.compile(r"[A-Za-z][\w.-]*=")
NEAR = 0.75  # likeness of words from which one is suggested


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a verb takes: its flags, its arguments, and the keys of its settings."""

    verb: str
    flags: Sequence[Flag]
    settings: Sequence[str] = ()

    @property
    def program(self) -> str:
        return f"detkit {self.verb}"

    @property
    def arguments(self) -> list[str]:
        """What its arguments are called, in the order of the usage line."""
        return [flag.value.lower() for flag in self.flags if not flag.names]

    def spelling(self, word: str, value: str = "") -> str:
        """How a thing of this name is given here: a flag, an argument, --set; else nothing."""
        name = word.replace("_", "-")
        for flag in self.flags:
            if f"--{name}" in flag.names:
                shown = value or flag.value
                return f"--{name} {shown}" if flag.value else f"--{name}"
        key = word.replace("-", "_")
        for flag in self.flags:
            if not flag.names and flag.value.lower() == key:
                return value or flag.value
        for setting in self.settings:
            if key in (setting, setting.rsplit(".", 1)[-1]):
                return f"--set {setting}={value or 'VALUE'}"
        return ""

    def meant(self, word: str, value: str = "") -> str:
        """How what another tool calls by a word is given here; else nothing."""
        key = word.replace("_", "-").lower()
        names = (key, *FLAGS_OF_OTHERS.get(key, ()))
        for name in sorted(names, key=lambda name: name not in self.arguments):
            if found := self.spelling(name, value):
                return found
        return ""

    def nearest(self, word: str) -> str:
        """The flag or setting that is spelt most like a word; nothing where none is near."""
        flags = [name[2:] for flag in self.flags for name in flag.names if name.startswith("--")]
        settings = [setting.rsplit(".", 1)[-1] for setting in self.settings]
        near = difflib.get_close_matches(word, [*flags, *settings], n=1, cutoff=NEAR)
        return self.spelling(near[0]) if near else ""


def unknown_flag_hint(flag: str, taken: Taken) -> str:
    """The hint for a flag that a verb does not have."""
    word = flag.lstrip("-")
    if found := taken.meant(word):
        if not found.startswith("-"):
            return f"{found} is an argument, without a flag: {taken.program} {found}"
        return found
    if near := taken.nearest(word):
        return f"did you mean {near}?"
    return f"{taken.program} --help"


def refuse_assignments(args: Sequence[str], taken: Taken) -> None:
    """Raises UsageError where arguments are written as key=value, with the line to type."""
    groups = list(_groups(args, taken.flags))
    if any(map(_is_assignment, groups)):
        line, unknown = _line_to_type(groups, taken)
        missing = f", and nothing is called {', '.join(unknown)}" if unknown else ""
        raise UsageError(f"values are given by flags here, not as key=value{missing}", hint=line)


def _line_to_type(groups: Sequence[Sequence[str]], taken: Taken) -> tuple[str, list[str]]:
    """The line that says the same, arguments as the usage line has them, and what it lacks.

    Also the keys that mean nothing.
    """
    arguments = dict.fromkeys(taken.arguments, "")
    bare: list[str] = []
    flags: list[str] = []
    unknown: list[str] = []
    for group in groups:
        key, _, value = group[0].partition("=")
        if not _is_assignment(group):
            (flags if group[0].startswith("-") else bare).append(shlex.join(group))
        elif (place := taken.meant(key).lower()) in arguments:
            arguments[place] = shlex.quote(value)
        elif found := taken.meant(key, shlex.quote(value)):
            flags.append(found)
        else:
            unknown.append(key)
    free = [place for place, word in arguments.items() if not word]
    arguments.update(zip(free, bare, strict=False))
    given = {word.partition(" ")[0] for word in flags}
    for flag in (flag for flag in taken.flags if flag.required):
        if flag.names and given.isdisjoint(flag.names):
            flags.append(f"{flag.names[0]} {flag.value}")
        elif not flag.names:
            arguments[flag.value.lower()] = arguments[flag.value.lower()] or flag.value
    words = [*filter(None, arguments.values()), *bare[len(free) :], *flags]
    return " ".join([taken.program, *words]), unknown


def verb_hint(words: Sequence[str], verbs: Mapping[str, object]) -> str:
    """The hint for what another tool calls a verb, perhaps after a task; nothing if not known.

    >>> verb_hint(["val"], {}), verb_hint(["detect", "train"], {"train": ...})
    ('detkit eval', 'detkit train')
    """
    for word in reversed(words[:2]):
        if word in verbs:
            return f"detkit {word}"
        if word in VERBS_OF_OTHERS:
            return f"detkit {VERBS_OF_OTHERS[word]}"
    return ""


def _groups(args: Sequence[str], flags: Sequence[Flag]) -> Iterator[Sequence[str]]:
    """The arguments one by one, a flag together with its value."""
    takes_value = {name for flag in flags if flag.value for name in flag.names}
    left = list(args)
    while left:
        size = 2 if left[0] in takes_value else 1
        yield left[:size]
        del left[:size]


def _is_assignment(group: Sequence[str]) -> bool:
    """Whether it is a key=value, and no file of this name."""
    return bool(SETTING.match(group[0])) and not Path(group[0]).exists()
