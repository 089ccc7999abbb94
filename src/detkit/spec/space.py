"""A search space as data: a base architecture, and the fields of it that may take other values.

A knob is named by the path of a field of ArchSpec: `stem`, `stages.0.hidden`, `head_widths`. A star
stands for every entry of a list, whose values then are lists with one item an entry: `neck.*.out`.
Values are ordered, small to large, where there is an order: searchers take single steps along it.
A point is one value for each knob. What lives here: which points there are and which architecture
each is. What does not: how points are drawn and changed (see `search.strategies.discrete_space`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.core.errors import UsageError, did_you_mean
from detkit.core.serialization import coerce, digest_of, to_plain
from detkit.spec.arch import ACTIVATIONS, BLOCK_KINDS, KERNELS, TRAINED_AS, ArchSpec
from detkit.spec.json_file import read_spec
from detkit.spec.zoo import ZOO, with_task

Value = bool | int | float | str | tuple[int, ...]
Point = Mapping[str, Value]
MAX_VALUES = 1000  # of a knob
TASK_FIELDS = ("num_classes", "image_size")  # what a search takes from the user's data


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """All architectures that differ from `base` in the `knobs` only.

    Raises:
        UsageError: no knobs, a path that is no field of ArchSpec, or a value it cannot take.
    """

    name: str
    base: ArchSpec
    knobs: dict[str, tuple[Value, ...]]

    def __post_init__(self) -> None:
        if not self.knobs:
            raise UsageError(f"space {self.name}: no knobs, so there is nothing to search")
        if self.base.family in TRAINED_AS:
            raise UsageError(
                f"space {self.name}: networks of family {self.base.family} are not trained",
                hint=f"those of {TRAINED_AS[self.base.family]} are: the same with detkit's head",
            )
        self._check_paths()
        for path, values in self.knobs.items():
            if not 1 <= len(values) <= MAX_VALUES:
                known = "no values" if not values else f"{len(values)} values"
                raise UsageError(
                    f"space {self.name}: {path} has {known}",
                    hint=f"1 to {MAX_VALUES}: each of them is checked" if values else "",
                )
            if len(set(map(repr, values))) < len(values):
                raise UsageError(f"space {self.name}: {path} has a value twice")
            for value in values:  # ArchSpec checks field by field, so this checks every point
                self._put({path: value})

    def _check_paths(self) -> None:
        """Raises UsageError where two knobs vary the same field."""
        seen: dict[str, str] = {}
        for path in self.knobs:
            for field in _fields(to_plain(self.base), path):
                if field in seen:
                    raise UsageError(
                        f"space {self.name}: {seen[field]} and {path} both vary {field}"
                    )
                seen[field] = path

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits over the base and the knobs, not the name."""
        return digest_of({"base": self.base.digest, "knobs": to_plain(self.knobs)})

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(map(len, self.knobs.values()))

    def to_arch(self, point: Point) -> ArchSpec:
        """The architecture of a point, under its own name where it is one of the zoo.

        Raises:
            UsageError: a knob missing or too many, or a value that is not one of its knob.
        """
        for path in {**self.knobs, **point}:
            if path not in self.knobs:
                hint = did_you_mean(path, self.knobs)
                raise UsageError(f"space {self.name}: no knob '{path}'", hint=hint)
            if point.get(path) not in self.knobs[path]:
                raise UsageError(f"space {self.name}: {path} cannot be {point.get(path)!r}")
        spec = self._put(point)
        known = [name for name, other in ZOO.items() if same_network(spec, other)]
        return dataclasses.replace(spec, name=known[0] if known else f"nas-{spec.digest[:8]}")

    def to_point(self, spec: ArchSpec) -> dict[str, Value]:
        """The point of an architecture.

        Raises:
            UsageError: it is not in this space.
        """
        point = {path: _get(to_plain(spec), path) for path in self.knobs}
        outside = [path for path, value in point.items() if value not in self.knobs[path]]
        if outside:
            raise UsageError(f"{spec.name} is not in space {self.name}: {', '.join(outside)}")
        if self._put(point).digest != spec.digest:
            raise UsageError(f"{spec.name} is not in space {self.name}: it differs from the base")
        return point

    def for_task(self, num_classes: int, image_size: tuple[int, int] | None) -> SearchSpace:
        """Gives the same space for other classes; an image size given is the only one searched."""
        knobs = {path: values for path, values in self.knobs.items() if path not in TASK_FIELDS}
        if image_size is None and "image_size" in self.knobs:
            knobs["image_size"] = self.knobs["image_size"]
        size = image_size or self.base.image_size
        return SearchSpace(
            name=self.name, base=with_task(self.base, num_classes, size), knobs=knobs
        )

    def smallest_point(self) -> dict[str, Value]:
        """The least value of every knob, and of words the first.

        It is the network of least cost, where cost grows with each.
        """
        return {path: min(values, key=_magnitude) for path, values in self.knobs.items()}

    def largest_point(self) -> dict[str, Value]:
        """The greatest value of every knob."""
        return {path: max(values, key=_magnitude) for path, values in self.knobs.items()}

    def largest_arch(self) -> ArchSpec:
        """The architecture with every field as large as any point has it: it holds all networks.

        It need not be a point itself. Words, such as the block kind, are those of the base.
        """
        plain = to_plain(self.base)
        for path, values in self.knobs.items():
            if any(isinstance(value, str) for value in values):
                continue
            tuples = [value for value in values if isinstance(value, tuple)]
            most: Value = tuple(map(max, zip(*tuples, strict=True))) if tuples else max(values)
            _set(plain, path, most, where=f"space {self.name}: {path}")
        spec: ArchSpec = coerce(ArchSpec, plain, f"space {self.name}")
        return dataclasses.replace(spec, name=f"{self.name}-supernet")

    def zoo_points(self) -> dict[str, dict[str, Value]]:
        """The named architectures that are points of this space, for its classes and sizes."""
        found = {}
        sizes = self.knobs.get("image_size", (self.base.image_size,))
        for name, spec in ZOO.items():
            size: Any = sizes[-1]  # the largest
            try:
                found[name] = self.to_point(with_task(spec, self.base.num_classes, size))
            except UsageError:
                continue
        return found

    def _put(self, point: Point) -> ArchSpec:
        """The base with the point's values, unnamed."""
        plain = to_plain(self.base)
        for path, value in point.items():
            _set(plain, path, value, where=f"space {self.name}: {path}")
        spec: ArchSpec = coerce(ArchSpec, plain, f"space {self.name}")
        return dataclasses.replace(spec, name="")


def same_network(a: ArchSpec, b: ArchSpec) -> bool:
    """Whether two architectures differ at most in name, classes and image size."""
    return dataclasses.replace(with_task(a, b.num_classes, b.image_size), name=b.name) == b


def _magnitude(value: Value) -> float:
    """The number that values are compared by; words are all equal, so the first is taken."""
    if isinstance(value, tuple):
        return math.prod(value)
    return 0.0 if isinstance(value, str) else float(value)


def _fields(plain: Any, path: str) -> list[str]:
    """The fields that a knob varies, without stars."""
    key, _, rest = path.partition(".")
    if key == "*" and isinstance(plain, list):
        return [f"{index}.{rest}" for index in range(len(plain))]
    inner = plain.get(key) if isinstance(plain, dict) else None
    return [f"{key}.{field}" for field in _fields(inner, rest)] if rest else [key]


def _get(plain: Any, path: str) -> Any:
    """The value at a path of `to_plain(ArchSpec)`; the path is one that `_set` has taken."""
    key, _, rest = path.partition(".")
    if key == "*":
        return tuple(_get(item, rest) for item in plain)
    value = plain[int(key) if isinstance(plain, list) else key]
    if rest:
        return _get(value, rest)
    return tuple(value) if isinstance(value, list) else value


def _set(plain: Any, path: str, value: Value, *, where: str) -> None:
    """Writes into nested dicts and lists; only what is there can be written."""
    key, _, rest = path.partition(".")
    if key == "*" and isinstance(plain, list) and rest:
        if not isinstance(value, tuple) or len(value) != len(plain):
            raise UsageError(f"{where}: expected {len(plain)} numbers, got {value!r}")
        for item, part in zip(plain, value, strict=True):
            _set(item, rest, part, where=where)
        return
    at = _key(plain, key, where)
    if rest:
        _set(plain[at], rest, value, where=where)
    else:
        plain[at] = value


def _key(plain: Any, key: str, where: str) -> Any:
    if isinstance(plain, dict) and key in plain and key not in ("name", "num_classes"):
        return key
    if isinstance(plain, list) and key in map(str, range(len(plain))):
        return int(key)
    inside = range(len(plain)) if isinstance(plain, list) else plain
    known = map(str, inside) if isinstance(inside, (dict, range)) else ()  # a number has no fields
    raise UsageError(f"{where}: no field '{key}' to vary", hint=did_you_mean(key, known))


# --- the named spaces ----------------------------------------------------------------------------

_SIZES = tuple((side, side) for side in range(256, 641, 32))
_BACKBONE: dict[str, tuple[Value, ...]] = {
    "stem": (16, 32, 48),
    **{f"stages.{i}.out": outs for i, outs in enumerate((
        (32, 48, 64, 96), (64, 96, 128, 192), (112, 192, 256, 384), (320, 448, 576, 768),
    ))},
    **{f"stages.{i}.hidden": widths for i, widths in enumerate((
        (16, 32, 48, 64, 96), (32, 64, 96, 128), (48, 96, 128, 192, 256), (128, 192, 256, 384, 512),
    ))},
    **{f"stages.{i}.blocks": tuple(range(1, most + 1)) for i, most in enumerate((2, 4, 6, 4))},
    **{f"stages.{i}.concat": (False, True) for i in range(4)},
}  # fmt: skip
_NECK_AND_HEAD: dict[str, tuple[Value, ...]] = {
    "neck.*.out": ((64, 32, 64, 160), (128, 64, 128, 256), (192, 96, 192, 384)),
    **{f"neck.{i}.hidden": widths for i, widths in enumerate((
        (48, 64, 96, 128, 192), (32, 48, 64, 96, 128), (48, 64, 96, 128, 192), (64, 96, 128, 256),
    ))},
    **{f"neck.{i}.blocks": (1, 2, 3, 4) for i in range(4)},
    "head_widths": ((32, 64, 96), (64, 128, 256), (96, 192, 384), (128, 256, 512)),
}  # fmt: skip
# Without that of YOLOX-Nano, which profiles of latency were not validated on.
_SEARCHED_BLOCKS = tuple(kind for kind in BLOCK_KINDS if kind != "depthwise")
_ELASTIC = {**_BACKBONE, **_NECK_AND_HEAD, "image_size": _SIZES}

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        # What differs between YOLO-NAS S, M and L, and between them and yolo-nas-n.
        SearchSpace(name="yolo-nas", base=ZOO["yolo-nas-s"], knobs=_ELASTIC),
        SearchSpace(
            name="full",
            base=ZOO["yolo-nas-s"],
            knobs={
                **_ELASTIC,
                "block": _SEARCHED_BLOCKS,
                "kernel": KERNELS,
                "activation": ACTIVATIONS,
            },
        ),
        # Around yolo-nas-p, quick enough for tests and demonstrations.
        SearchSpace(
            name="tiny",
            base=ZOO["yolo-nas-p"],
            knobs={
                "stem": (8, 16),
                "stages.1.hidden": (16, 24, 32),
                "stages.2.hidden": (24, 32, 48),
                "stages.2.blocks": (1, 2),
                "stages.3.concat": (False, True),
                "head_widths": ((16, 24, 32), (32, 48, 64)),
            },
        ),
    )
}


def find_space(name: str) -> SearchSpace:
    """The named space, or the one in a JSON file.

    Raises:
        UsageError: neither a known name nor a readable file of the right shape.
    """
    if name in SPACES:
        return SPACES[name]
    path = Path(name)
    if path.suffix != ".json":
        raise UsageError(f"unknown space '{name}'", hint=did_you_mean(name, SPACES))
    return read_spec(SearchSpace, path, "space")
