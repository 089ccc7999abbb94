"""Frozen dataclasses of plain values <-> JSON values. Strict, for specs, configs and reports.

What lives here: turning a dataclass into dicts and lists, and back with every type checked and
every unknown key refused with the near name. What does not: files (see `artifact`), command-line
overrides (see `config`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

from detkit.core.content_digest import KEY, Sealed, check_seal, seal
from detkit.core.errors import UsageError, did_you_mean
from detkit.core.json_text import parse_json
from detkit.core.safe_text import safe_json

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Turns values into dicts, lists, strings, numbers, booleans and None; tuples become lists.

    >>> to_plain({"size": (320, 320)})
    {'size': [320, 320]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return seal(plain) if isinstance(value, Sealed) else plain
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no place in JSON")
    return value


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON text in field order; `from_json(type(x), to_json(x)) == x`."""
    text = json.dumps(to_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return safe_json(text)


def from_json(cls: type[T], text: str, *, where: str = "") -> T:
    """Reads `cls` from JSON text.

    Raises:
        UsageError: not JSON, an unknown or missing key, or a value of the wrong type.
    """
    try:
        plain = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{where or cls.__name__}: not valid JSON: {error}") from error
    return from_plain(cls, plain, where=where)


def from_plain(cls: type[T], plain: Any, *, where: str = "") -> T:
    """Builds the frozen dataclass `cls` from a mapping, checking every key and type.

    Raises:
        UsageError: names the place (`where`), the value and the remedy.
        DamagedError: a record that carries a digest has another one, or none.
    """
    where = where or cls.__name__
    if not isinstance(plain, Mapping):
        raise _mismatch("a table of settings", plain, where)
    is_sealed = issubclass(cls, Sealed)
    if is_sealed and KEY in plain:  # before all else, for damage looks like any other fault
        check_seal(plain, where)
    hints = field_types(cls)  # type: ignore[arg-type]
    for key in plain:
        if key not in hints:
            raise UsageError(f"{where}: unknown key '{key}'", hint=did_you_mean(str(key), hints))
    values = {key: coerce(hints[key], item, f"{where}.{key}") for key, item in plain.items()}
    missing = [f.name for f in dataclasses.fields(cls) if f.name not in values and is_required(f)]  # type: ignore[arg-type]
    if missing:
        raise UsageError(f"{where}: missing {', '.join(missing)}")
    if is_sealed and KEY not in plain:
        check_seal(plain, where)
    return cls(**values)


def is_required(field: dataclasses.Field[Any]) -> bool:
    no_default = field.default is dataclasses.MISSING
    return no_default and field.default_factory is dataclasses.MISSING


@functools.cache
def field_types(cls: type) -> Mapping[str, Any]:
    """Maps field names to resolved annotations, in field order."""
    hints = typing.get_type_hints(cls)
    return types.MappingProxyType({f.name: hints[f.name] for f in dataclasses.fields(cls)})


def coerce(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`, or a UsageError that names `where`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _coerce_union(args, value, where)
    if origin is tuple:
        return _coerce_tuple(args, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _mismatch("a table", value, where)
        return {str(k): coerce(args[1], item, f"{where}.{k}") for k, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return from_plain(typing.cast(type, kind), value, where=where)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where)
    if kind is Any or (isinstance(value, kind) and (kind is bool) == isinstance(value, bool)):
        return value
    raise _mismatch(kind.__name__, value, where)


def _coerce_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    for arg in args:
        if arg is type(None):
            continue
        try:
            return coerce(arg, value, where)
        except UsageError as error:
            failure = error
    raise failure


def _coerce_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mismatch("a list", value, where)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(coerce(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(args) != len(value):
        raise _mismatch(f"a list of {len(args)}", value, where)
    return tuple(
        coerce(arg, item, f"{where}[{i}]")
        for i, (arg, item) in enumerate(zip(args, value, strict=True))
    )


def _finite(value: float, where: str) -> float:
    """The value as a finite float; JSON and TOML may hold NaN, or integers beyond any float."""
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise _mismatch("a finite number", value, where)
    return float(value)


def _mismatch(expected: str, value: Any, where: str) -> UsageError:
    return UsageError(f"{where}: expected {expected}, got {reprlib.repr(value)}")


def digest_of(value: Any) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON (sorted keys, no blanks).

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
