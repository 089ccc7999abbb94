"""Which classes a model's detections become: renamed, joined, dropped, and from which score on.

Legend: K classes of the model, C classes of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detkit.config import LabelConfig, read_toml
from detkit.core.boxes import Array, Indices
from detkit.core.errors import UsageError, did_you_mean
from detkit.data.coco.coco_json import is_text
from detkit.spec.json_file import read_plain

Mask = npt.NDArray[np.bool_]

RULE_KEYS = ("name", "score")
FORMS = '"new name", null, or {"name": ..., "score": ...}'


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """What is asked for by name: labels of the model's classes, None being none, and least scores.

    A name among `scores` is a class of the model, or else a label.
    """

    labels: Mapping[str, str | None] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LabelClasses:
    """The classes of the labels, the first `num_human` of them those of labels that exist.

    `label_of` (K,) is the label of each class of the model, -1 where it has none; `least` (K,) its
    least score, 1 where it has no label. `is_looked_for` (C,) marks labels that the model can give.
    """

    model_names: tuple[str, ...]
    names: tuple[str, ...]
    label_of: Indices
    least: Array
    num_human: int = 0

    @property
    def are_joined(self) -> bool:
        """Whether several classes of the model have one label, so that their boxes overlap."""
        given = self.label_of[self.label_of >= 0]
        return len(np.unique(given)) < len(given)

    @property
    def is_looked_for(self) -> Mask:
        return np.isin(np.arange(len(self.names)), self.label_of)

    @property
    def renamed(self) -> dict[str, str]:
        pairs = zip(self.model_names, self.label_of.tolist(), strict=True)
        return {old: self.names[k] for old, k in pairs if k >= 0 and self.names[k] != old}

    @property
    def dropped(self) -> tuple[str, ...]:
        pairs = zip(self.model_names, self.label_of.tolist(), strict=True)
        return tuple(name for name, label in pairs if label < 0)

    @property
    def least_scores(self) -> dict[str, float]:
        """The least score of each class of the model that has a label."""
        rows = zip(self.model_names, self.label_of.tolist(), self.least.tolist(), strict=True)
        return {name: round(least, 6) for name, label, least in rows if label >= 0}


def read_class_map(path: Path) -> ClassMap:
    """Reads a JSON or TOML file of a class of the model -> its label, or a table of both.

    `{"car": "vehicle", "dog": null, "bus": {"name": "vehicle", "score": 0.6}}`; TOML, which has no
    null, says `dog = ""`.

    Raises:
        UsageError: no such file, not of this form, or a score outside 0..1.
    """
    plain = read_toml(path) if path.suffix.lower() == ".toml" else read_plain(path, "class map")
    if not isinstance(plain, Mapping):
        raise UsageError(f"{path}: expected a table", hint=f'"class of the model": {FORMS}')
    labels: dict[str, str | None] = {}
    scores: dict[str, float] = {}
    for name, rule in plain.items():
        table = rule if isinstance(rule, Mapping) else {"name": rule}
        for key in table:
            if key not in RULE_KEYS:
                hint = did_you_mean(str(key), RULE_KEYS)
                raise UsageError(f"{path}: '{name}': unknown key '{key}'", hint=hint)
        label = table.get("name", name)
        if label is not None and not isinstance(label, str):
            raise UsageError(f"{path}: '{name}': {label!r:.60} is no name", hint=FORMS)
        labels[name] = label or None
        if "score" in table:
            scores[name] = checked_score(table["score"], f"{path}: '{name}'")
    return ClassMap(labels=labels, scores=scores)


def checked_score(value: object, where: str) -> float:
    """Raises UsageError, naming `where`, unless the value is a number from 0 to 1."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # type: ignore[operator]
        raise UsageError(f"{where}: a score is a number from 0 to 1, got {value!r:.60}")
    return float(value)  # type: ignore[arg-type]


def plan_classes(
    model_names: Sequence[str],
    config: LabelConfig,
    class_map: ClassMap,
    *,
    human_names: Sequence[str] = (),
) -> LabelClasses:
    """Decides the label and the least score of each class of the model.

    Raises:
        UsageError: a name that is neither a class of the model nor a label, or that annotations
            cannot hold; or no labels at all.
    """
    for name in class_map.labels:
        _check(name, model_names, "the model has no class")
    keep = config.unmapped == "keep"
    labels = [class_map.labels.get(name, name if keep else None) for name in model_names]
    given = [label for label in labels if label is not None]
    if not given:
        raise UsageError("no class of the model has a label", hint=f"it has: {_some(model_names)}")
    for text in given:
        if not is_text(text):
            hint = "--classes gives it another"
            raise UsageError(f"{text!r} cannot be the name of a class", hint=hint)
    names = tuple(dict.fromkeys([*human_names, *given]))
    least = [config.score if label is not None else 1.0 for label in labels]
    by_label = {name: s for name, s in class_map.scores.items() if name not in model_names}
    for name in by_label:
        _check(name, [*given, *model_names], "neither the model nor the labels have the class")
    for k, (name, label) in enumerate(zip(model_names, labels, strict=True)):
        if label is not None:
            least[k] = class_map.scores.get(name, by_label.get(label, config.score))
    return LabelClasses(
        model_names=tuple(model_names),
        names=names,
        label_of=np.array([-1 if x is None else names.index(x) for x in labels], np.int64),
        least=np.array(least, np.float32),
        num_human=len(human_names),
    )


def _check(name: str, known: Sequence[str], reason: str) -> None:
    if name not in known:
        raise UsageError(f"{reason} '{name}'", hint=did_you_mean(name, set(known)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
