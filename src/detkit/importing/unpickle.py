"""Reads the tensors and plain values of another tool's .pth file without executing anything in it.

A torch checkpoint is a zip of one pickle and raw storages. The unpickler here knows the handful of
functions that rebuild tensors and plain values; every other global becomes an `InertObject`, so a
hostile pickle can name `os.system` but only ever gets an object called "os.system". Storages are
read by ourselves with every size checked, so torch.load is not involved at all.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.core.reading import open_file, require_file

MAX_PICKLE_BYTES = 64_000_000
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class InertObject:
    """Stands for any unknown class or function of the file: its name and contents, inert."""

    origin = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> InertObject:
        inert_object = super().__new__(cls)
        inert_object.args, inert_object.state = args, None
        return inert_object

    def __init__(self, *_: Any, **__: Any) -> None:
        """Does nothing: `__new__`, all that pickle calls for some classes, took everything."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Drops an item of a list-like class, as no such class matters to an import."""

    def extend(self, items: list[Any]) -> None:
        """Drops items; see `append`."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Drops an item of a dict-like class; see `append`."""


def inert(name: str) -> type[InertObject]:
    """A class that remembers it was asked for as `name` and does nothing."""
    return type("InertObject", (InertObject,), {"origin": name})


@dataclass(frozen=True)
class Storage:
    """A storage of the archive, checked but not yet read."""

    read: Callable[[], bytearray]
    dtype: torch.dtype
    numel: int


def read_checkpoint(path: Path) -> Any:
    """The object saved by `torch.save`, made of dicts, lists, strings, numbers and tensors.

    Raises:
        ArtifactError: not a zip checkpoint, damaged, or lying about its sizes.
    """
    require_file(path)
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return _Reader(archive).load()
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            f"{path} is not a torch checkpoint in the zip format",
            hint="files from before torch 1.6: load and torch.save them again with a newer torch",
        ) from error
    except RecursionError as error:
        raise ArtifactError(f"{path} is not readable: nested too deeply") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # a hostile pickle can make the unpickler fail in any way
        raise ArtifactError(f"{path} is not readable: {type(error).__name__}: {error}") from error


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ArtifactError("not a torch checkpoint: it holds no data.pkl")
        self.entries = entries
        self.prefix = pickles[0].removesuffix("data.pkl")
        if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ArtifactError("its pickle is larger than any checkpoint needs")
        super().__init__(io.BytesIO(archive.read(pickles[0])))

    def find_class(self, module: str, name: str) -> Any:
        known = KNOWN_GLOBALS.get((module, name))
        if known is not None:
            return known
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        return inert(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _location, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ArtifactError(f"unknown storage {pid!r}")
        info = self.entries.get(f"{self.prefix}data/{key}")
        if info is None or info.file_size != numel * dtype.itemsize:
            raise ArtifactError(f"storage {key} is missing or has another size than stated")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError("compressed storages are refused: torch does not write them")
        return Storage(lambda: bytearray(self.archive.read(info)), dtype, numel)


def _rebuild_tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """Does what torch._utils._rebuild_tensor_v2 does, with the extent checked."""
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (offset < 0 or min(stride, default=0) < 0 or last >= storage.numel):
        raise ArtifactError("a tensor reaches beyond its storage")
    if count > storage.numel:
        raise ArtifactError("a tensor is larger than its storage")
    if not count:
        return torch.empty(size, dtype=storage.dtype)
    flat = torch.frombuffer(storage.read(), dtype=storage.dtype)
    return flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _numpy_scalar(dtype: Any, raw: Any) -> Any:
    """Reads a pickled numpy scalar: strings (UTF-32) become str, the rest an inert object."""
    code = dtype.args[0] if isinstance(dtype, InertObject) and dtype.args else ""
    if isinstance(code, str) and code.startswith(("U", "<U")) and isinstance(raw, bytes):
        return raw.decode("utf-32-le").rstrip("\0")
    return inert("numpy.scalar")(dtype, raw)


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ArtifactError(f"unknown encoding {encoding!r}")
    return text.encode(encoding)


KNOWN_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
