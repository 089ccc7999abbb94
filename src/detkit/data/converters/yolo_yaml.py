"""data.yaml of YOLO folders: class names and paths, by PyYAML. All else in it is ignored.

Every scalar stays the text that was written (a class may be called `no` or `007`), tags mean
nothing, and aliases are refused: a few lines of them can stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from detkit.core.errors import DataError
from detkit.data.coco.layout import SPLIT_OF_WORD
from detkit.data.converters.labels import read_text


@dataclass(frozen=True, kw_only=True)
class YoloYaml:
    """Class number -> name; split -> folders or lists of images, relative to `path`.

    `point_numbers` are those that follow a box: the product of `kpt_shape`, 0 without key points.
    """

    names: dict[int, str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    path: str = ""
    point_numbers: int = 0


MAX_DEPTH = 20  # of lists and mappings in each other; a file of ours has three
MAX_DIGITS = 6  # of a class number


class _TextLoader(yaml.BaseLoader):
    """Builds dicts, lists and text; refuses an alias, and nesting that no such file has."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        refused = "an alias" if self.check_event(yaml.AliasEvent) else ""
        if refused or self.depth >= MAX_DEPTH:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = refused or f"more than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yolo_yaml(path: Path) -> YoloYaml:
    """Reads data.yaml.

    Raises:
        DataError: unreadable, no YAML, with aliases, or without class names.
    """
    values = _read(path)
    names = _numbered(values.get("names"), path, "names")
    if not names or not all(n.isdecimal() and len(n) <= MAX_DIGITS for n in names):
        raise DataError(f"{path}: no list of class names under 'names:'")
    splits: dict[str, list[str]] = {}
    for key, value in values.items():
        if key in SPLIT_OF_WORD:
            splits.setdefault(SPLIT_OF_WORD[key], []).extend(_numbered(value, path, key).values())
    return YoloYaml(
        names={int(number): name for number, name in names.items()},
        splits={split: folders for split, folders in splits.items() if any(folders)},
        path=_numbered(values.get("path"), path, "path").get("0", ""),
        point_numbers=_point_numbers(_numbered(values.get("kpt_shape"), path, "kpt_shape"), path),
    )


def _point_numbers(shape: Mapping[str, str], path: Path) -> int:
    """How many numbers of a row are key points: [17, 3] are 51."""
    sizes = list(shape.values())
    if sizes and (len(sizes) != 2 or not all(size.isdecimal() and len(size) < 5 for size in sizes)):
        raise DataError(f"{path}: kpt_shape is not two numbers: {', '.join(sizes):.40}")
    return int(sizes[0]) * int(sizes[1]) if sizes else 0


def _read(path: Path) -> Mapping[str, Any]:
    """The mapping at the top of the file; empty where it is none."""
    try:
        plain = yaml.load(read_text(path), Loader=_TextLoader)  # builds text and containers only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise DataError(f"{path}{line}: cannot be read as YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: cannot be read as YAML: {error}") from error
    return plain if isinstance(plain, dict) else {}


def _numbered(value: Any, path: Path, key: str) -> dict[str, str]:
    """A mapping of text to text; a text or a list counts as one from "0", "1", ...

    Raises:
        DataError: something else than text inside.
    """
    if value in (None, ""):
        return {}
    if isinstance(value, str):
        value = [value]
    items = value if isinstance(value, dict) else {str(n): item for n, item in enumerate(value)}
    for item in (*items, *items.values()):
        if not isinstance(item, str):
            raise DataError(f"{path}: cannot read '{item!s:.40}' under '{key}:'")
    return items
