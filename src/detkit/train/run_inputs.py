"""What a run is bound to: its settings, and what lies in the files that it reads.

Kept in the state, so that whatever resumes a run goes on with the same or says what is not. Paths
may change, since folders move; their content may not, since the rest of the run would learn
something else. What only rounding depends on may change and is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from detkit.artifact.artifact import files_of, sha256_of, versions
from detkit.config import PATHS_OF_SPLITS, TrainConfig, settings_by_key
from detkit.core.errors import ArtifactError, TrainingError, UsageError
from detkit.core.run_lock import LOCK
from detkit.core.serialization import digest_of, from_plain, to_plain
from detkit.data.coco.content import content_digest
from detkit.data.coco.folder import CocoSplit
from detkit.engines import TRAINING
from detkit.train import ranks
from detkit.train.first_weights import Lineage
from detkit.train.precision import half_type
from detkit.train.replica import images_of_a_norm
from detkit.train.setup import TrainSetup

PATHS = ("data", "init", "teacher", "teacher_outputs", *PATHS_OF_SPLITS)
MAY_CHANGE = (
    *("epochs", "time_limit", "patience", "device", "workers", "threads", "cache"),
    *("checkpoint_minutes", "max_dropped", "loggers", "average_best"),
)
NAMES_SHOWN = 5
C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class SplitInputs:
    """One split as a run began with it."""

    images: int
    boxes: int
    digest: str

    def __str__(self) -> str:
        return f"{self.images} images with {self.boxes} boxes ({self.digest})"


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """All that the weights of a run come from.

    Attributes:
        settings: those that make another run, by their keys.
        files: digests of what was read beside the data, by what it is for.
        lineage: of the first weights of a training, which are not needed to go on.
        rounding: what the last bits depend on: threads, device, versions.
    """

    class_names: tuple[str, ...] = ()
    splits: dict[str, SplitInputs] = field(default_factory=dict)
    arch: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    rounding: dict[str, str] = field(default_factory=dict)
    lineage: Lineage | None = None


def paths_in(
    config: Any, keys: Sequence[str], names: Mapping[str, Sequence[str]]
) -> dict[str, Path]:
    """The settings of these keys that are paths, from the root: not empty, none of their names."""
    found = settings_by_key(config)
    return {
        key: Path(found[key]).resolve()
        for key in keys
        if found[key] and not (key in names and _is_name(found[key], names[key]))
    }


def _is_name(text: str, names: Sequence[str]) -> bool:
    """Whether it is one of the names, or a word that can only be one of them, misspelled."""
    path = Path(text)
    return text in names or not (path.name != text or path.suffix or path.exists())


def with_paths(config: C, paths: Mapping[str, Path]) -> C:
    """The settings with these paths under their keys."""
    plain = to_plain(config)
    for key, path in paths.items():
        *sections, name = key.split(".")
        table = plain
        for section in sections:
            table = table[section]
        table[name] = str(path)
    return from_plain(type(config), plain)


def saved_settings(folder: Path | None, name: str, what: str) -> Path | None:
    """The settings of the run in `folder`; None where it was killed before they were written.

    Args:
        name: of the file that holds them.
        what: a run or a search, as its user calls it.

    Raises:
        UsageError: no folder, or nothing to resume in it.
    """
    if folder is None:
        raise UsageError(f"--resume needs the folder of the {what} to continue", hint="-o DIR")
    if (folder / name).is_file():
        return folder / name
    if not (folder / LOCK).is_file():
        raise UsageError(f"there is no {what} to resume in {folder}", hint="leave out --resume")
    return None


def check_still_there(paths: Mapping[str, Path], command: str) -> None:
    """Raises ArtifactError where what a run reads is gone; `command` resumes it."""
    for key, path in paths.items():
        if not path.exists():
            raise ArtifactError(
                f"{key} of this run is not there any more: {path}",
                hint=f"if it has moved: {command} --set {key}=PATH",
            )


def inputs_of(
    setup: TrainSetup, config: TrainConfig, device: torch.device, settings: Mapping[str, Any]
) -> RunInputs:
    """What a run is about to learn from; `settings` are those that the user knows, by key."""
    return RunInputs(
        class_names=setup.train.class_names,
        splits={name: split_inputs(split) for name, split in setup.folder.splits.items()},
        arch=setup.model.spec.digest,
        settings=dict(settings),
        files=_files(setup, config),
        rounding=_rounding(config, device),
        lineage=setup.start.lineage if setup.start else None,
    )


def fixed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that a resumed training cannot change, by their keys."""
    fixed = {
        key: value
        for key, value in settings_by_key(config).items()
        if key not in (*MAY_CHANGE, *PATHS)
    }
    if Path(config.model).suffix == ".json":
        del fixed["model"]  # a path as well: its architecture counts
    return fixed


def check_settings(
    before: RunInputs, settings: Mapping[str, Any], may_change: Sequence[str]
) -> None:
    """Raises UsageError where a run would go on with other settings than it began with."""
    changed = [
        f"{key}, {was!r} when it began, to {settings[key]!r}"
        for key, was in before.settings.items()
        if key in settings and settings[key] != was
    ]
    if changed:
        raise UsageError(
            f"a resumed run cannot change {'; '.join(changed)}",
            hint=f"it may change {', '.join(may_change)}, and paths of what has moved; anything"
            " else is a new run in another folder",
        )


def check_inputs(before: RunInputs, now: RunInputs, *, last: Path | None) -> None:
    """Raises TrainingError where a run would go on with other classes, data or files.

    Args:
        last: its checkpoint, where a new run can start from that.
    """
    if changed := _changed(before, now):
        start = f", with --init {last} from where it is" if last and last.is_file() else ""
        raise TrainingError(
            f"this run began with other inputs: {'; '.join(changed)}",
            hint=f"--resume takes what it began with; others need another folder{start}",
        )


def rounding_changes(before: RunInputs, now: RunInputs) -> str:
    """A sentence about what makes other bits of the same run; empty where nothing does."""
    keys = [key for key in now.rounding if now.rounding[key] != before.rounding.get(key)]
    if not keys:
        return ""
    changed = ", ".join(f"{key} {before.rounding.get(key)} -> {now.rounding[key]}" for key in keys)
    return f"not the same bits as without the interruption: {changed}"


def _changed(before: RunInputs, now: RunInputs) -> list[str]:
    changed = []
    if before.class_names != now.class_names:
        changed.append(
            f"the classes were {_shown(before.class_names)} and are {_shown(now.class_names)}"
        )
    for name, is_now in now.splits.items():
        was = before.splits.get(name)
        if was is not None and was.digest != is_now.digest:
            changed.append(f"the data of '{name}' was {was} and is {is_now}")
    if before.arch != now.arch:
        changed.append(f"the architecture was {before.arch} and is {now.arch}")
    for use in {**before.files, **now.files}:
        if before.files.get(use) != now.files.get(use):
            changed.append(f"the {use} changed")
    return changed


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"


def split_inputs(split: CocoSplit) -> SplitInputs:
    boxes = sum(len(record.classes) for record in split.records)
    return SplitInputs(images=len(split.records), boxes=boxes, digest=content_digest(split))


def _files(setup: TrainSetup, config: TrainConfig) -> dict[str, str]:
    files = {}
    if setup.parents and setup.start is None:
        files["weights it starts from"] = digest_of([one.sha256 for one in setup.parents])
    if config.teacher:
        paths = [path for path in files_of(Path(config.teacher)) if path.is_file()]
        files["teacher"] = digest_of([sha256_of(path) for path in paths])
    if config.teacher_outputs:
        path = Path(config.teacher_outputs)
        files["description of the teacher's outputs"] = (
            sha256_of(path) if path.is_file() else config.teacher_outputs
        )
    return files


def _rounding(config: TrainConfig, device: torch.device) -> dict[str, str]:
    on_gpu = device.type == "cuda"
    found = versions(TRAINING.package, "numpy", "pillow")
    del found["python"]
    return {
        "threads": str(torch.get_num_threads()),
        "processes": str(ranks.world()),
        "images of a batch-norm": str(images_of_a_norm(config)),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "mixed precision": str(half_type(config.amp, device) or "off").removeprefix("torch."),
        **found,
    }
