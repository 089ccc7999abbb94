"""How the sources of settings are merged: defaults < TOML file < `--set` < flags."""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from detkit.config.fields import allowed_text
from detkit.core.errors import DetkitError, UsageError, did_you_mean
from detkit.core.reading import text_of
from detkit.core.safe_text import safe_json
from detkit.core.serialization import field_types, from_plain, to_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def resolve(
    cls: type[T],
    *,
    base: Path | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> T:
    """Merges defaults < TOML `base` < `file` < `key.sub=value` of `sets` < `flags` that are given.

    Raises:
        DetkitError: the file cannot be read.
        UsageError: no TOML, unknown key (with the nearest name), value of the wrong type.
    """
    merged: dict[str, Any] = {}
    for one in (base, file):
        merged = merged if one is None else _over(merged, read_toml(one))
    for text in sets:
        _assign(cls, merged, text)
    merged.update({key: value for key, value in (flags or {}).items() if value is not None})
    last = file or base
    return from_plain(cls, merged, where=last.name if last else "config")


def _over(table: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """The table with what `top` says in the place of its own, sections key by key."""
    sections = {
        key: _over(table[key], value)
        for key, value in top.items()
        if isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
    }
    return {**table, **top, **sections}


def read_toml(file: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(text_of(file))
        return table
    except OSError as error:
        raise DetkitError(f"cannot read config {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not valid TOML: {error}") from error


def _assign(cls: type[Any], table: dict[str, Any], text: str) -> None:
    """Puts one `section.key=value` into `table`; the field's type decides how it is read."""
    path, equals, raw = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write key=value")
    *sections, key = path.strip().split(".")
    kind: Any = cls
    for section in sections:
        kind = _field_type(kind, section, text)
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {text}: the file says {section} = {table!r}")
    table[key] = _read_value(_field_type(kind, key, text), raw.strip(), text)


def _field_type(cls: Any, name: str, text: str) -> Any:
    known = field_types(cls) if isinstance(cls, type) and dataclasses.is_dataclass(cls) else {}
    if name not in known:
        raise UsageError(f"--set {text}: unknown key '{name}'", hint=did_you_mean(name, known))
    return known[name]


def _read_value(kind: Any, raw: str, text: str) -> Any:
    if dataclasses.is_dataclass(kind):
        raise UsageError(f"--set {text}: this is a section; set one of its keys")
    if kind is str:
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise UsageError(f"--set {text}: expected {name}, got '{raw}'") from error


def settings_by_key(config: Any) -> dict[str, Any]:
    """Every setting under its key, those of sections with dots, as `--set` takes them."""
    return dict(_flat(to_plain(config), ""))


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_toml(config: Any) -> str:
    """TOML text that `resolve` reads back to an equal config."""
    return "\n".join(_toml_lines(to_plain(config), ())) + "\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    scalars = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"[{'.'.join(path)}]"] if path and scalars else []
    lines += [f"{key} = {_toml_value(value)}" for key, value in scalars.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", *_toml_lines(value, (*path, key))]
    return lines


def _toml_value(value: Any) -> str:
    """A value in JSON but for what TOML forbids, escaped surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if ord(char) > 0xFFFF else safe_json(char) for char in text)


def help_lines(cls: type[Any], prefix: str = "") -> list[str]:
    """`key = default  help` of every setting, sections flattened with dots."""
    lines: list[str] = []
    for item in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[item.name]
        if dataclasses.is_dataclass(kind):
            lines += help_lines(typing.cast(type, kind), f"{prefix}{item.name}.")
        else:
            value = f"{prefix}{item.name}={json.dumps(item.default)}"
            allowed = allowed_text(item.metadata)
            text = f"{item.metadata['help']} ({allowed})" if allowed else item.metadata["help"]
            lines.append(f"{value:<34}{text}")
    return lines
