"""The settings of a study: where they come from, and what a resumed one must find again.

Paths may change, since folders move; what lies there may not, since scores would not compare.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detkit.artifact.artifact import sha256_of
from detkit.artifact.outputs import check_output_folder, made_names
from detkit.config import (
    AUTO_INIT,
    NO_INIT,
    PATHS_OF_SPLITS,
    SearchConfig,
    resolve,
    settings_by_key,
)
from detkit.core.errors import UsageError
from detkit.core.run_lock import Holder
from detkit.data.coco.folder import require_boxes
from detkit.search.scoring.study_folder import VERB
from detkit.search.study.journal import JOURNAL, has_trials
from detkit.spec.onnx_presets import PRESETS
from detkit.spec.space import SPACES, SearchSpace
from detkit.spec.zoo import ZOO
from detkit.train.run_inputs import (
    check_still_there,
    paths_in,
    saved_settings,
    split_inputs,
    with_paths,
)
from detkit.train.setup import open_splits

CONFIG = "search.toml"
MAY_CHANGE = ("trials", "batch")  # by a resumed search, and where it is evaluated
FILES = (
    "supernet.init",
    "supernet.trained",
    "train.init",
    "train.teacher",
    "train.teacher_outputs",
)
PATHS = ("data", "latency_profile", "space", *FILES, *(f"train.{key}" for key in PATHS_OF_SPLITS))
STARTS = ("", AUTO_INIT, NO_INIT, *ZOO)
NAMES = {
    "space": tuple(SPACES),
    "supernet.init": STARTS,
    "train.init": STARTS,
    "train.teacher_outputs": tuple(PRESETS),
}


def resolve_search(
    flags: Mapping[str, Any],
    *,
    file: Path | None,
    sets: Sequence[str],
    resume: bool,
    out: Path | None,
) -> SearchConfig:
    """Defaults < the settings of the search to resume < file < --set < flags; paths whole.

    Raises:
        UsageError: unknown or wrong settings, or no search to resume.
        ArtifactError: something that the search to resume reads is not where it was.
    """
    saved = saved_settings(out, CONFIG, "search") if resume else None
    config = resolve(SearchConfig, base=saved, file=file, sets=sets, flags=flags)
    paths = paths_in(config, PATHS, NAMES)
    if saved:
        check_still_there(paths, f"detkit search -o {out} --resume")
    return with_paths(config, paths)


def goes_on(
    out: Path, config: SearchConfig, *, resume: bool, force: bool, killed: Holder | None
) -> bool:
    """Whether a search goes on from the journal in its folder; else it starts from the beginning.

    Raises:
        UsageError: a folder with something in it, where nobody said what to do, or nothing to
            resume.
    """
    unbegun = killed is not None and _is_unbegun(out)
    check_output_folder(
        out,
        VERB,
        force=force or unbegun,
        resume=resume,
        read=[Path(config.data)] if config.data else [],
        hint="use --resume to continue or --force to start over",
    )
    if resume and not (killed or (out / CONFIG).is_file()):
        raise UsageError(f"there is no search to resume in {out}", hint="leave out --resume")
    return resume and (out / JOURNAL).is_file()


def _is_unbegun(out: Path) -> bool:
    """Whether there is nothing but what a search has before the first of its trials is done."""
    first = {CONFIG, JOURNAL, f"{JOURNAL}-journal"}
    return made_names(out) <= first and not has_trials(out / JOURNAL)


def fixed_settings(config: SearchConfig, space: SearchSpace, latency: str) -> dict[str, str]:
    """What a resumed study must not change; `latency` says where latencies are from."""
    settings = {
        key: json.dumps(value)
        for key, value in settings_by_key(config).items()
        if key not in (*MAY_CHANGE, *PATHS) and not key.startswith("ray.")
    }
    settings["ray.resource"] = config.ray.resource  # latencies of other devices do not compare
    return {"space": space.digest, "latency": latency, **settings, **_contents(config)}


def _contents(config: SearchConfig) -> dict[str, str]:
    """What lies in the files that scores are from."""
    files = paths_in(config, FILES, NAMES)
    found = {key: sha256_of(path)[:16] for key, path in files.items() if path.is_file()}
    if not config.data or config.evaluator == "proxy":
        return found
    folder = open_splits(dataclasses.replace(config.train, data=config.data))
    if config.evaluator == "supernet" or not config.train.teacher:  # whose boxes may be the labels
        require_boxes(folder.splits["val"].records, f"'val' of {config.data}")
    found["data"] = ", ".join(f"{n}: {split_inputs(s)}" for n, s in folder.splits.items())
    found["classes"] = json.dumps(folder.splits["train"].class_names)
    return found


def evaluator_name(config: SearchConfig) -> str:
    """The evaluator with its proxy or epochs: scores of different ones cannot be compared."""
    epochs = config.supernet.epochs if config.evaluator == "supernet" else config.epochs
    detail = config.proxy if config.evaluator == "proxy" else f"{epochs} epochs"
    return f"{config.evaluator} ({detail})"
