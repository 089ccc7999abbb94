"""Reads the tensors and plain values of another tool's .pth file without executing anything in it.

A torch checkpoint is a zip of one pickle and raw storages. The pickle is interpreted by a machine
of our own (see `pickle_machine`), which knows the handful of functions here that rebuild tensors
and plain values; every other call becomes an `InertObject`, so a hostile pickle can name
`os.system` but only ever gets an object called "os.system". Storages are read with every size
checked, each of them once, so that reading takes no more memory than the file has bytes. Neither
torch.load nor Python's unpickler is involved at all.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.core.reading import open_file, require_file
from detkit.importing.pickle_machine import Global, InertObject, PickleMachine, new_dict

MAX_PICKLE_BYTES = 64_000_000
MAX_DIMS = 8
REASON_SHOWN = 200  # characters of what another library says of a file
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


@dataclass(frozen=True)
class Storage:
    """A storage of the archive, one-dimensional; tensors share it as they do in the file."""

    values: Tensor


def read_checkpoint(path: Path) -> Any:
    """The object saved by `torch.save`, made of dicts, lists, strings, numbers and tensors.

    Raises:
        ArtifactError: not a zip checkpoint, damaged, or lying about its sizes.
    """
    require_file(path)
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return _Reader(archive, path.stat().st_size).load()
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            f"{path} is not a torch checkpoint in the zip format",
            hint="files from before torch 1.6: load and torch.save them again with a newer torch",
        ) from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # a hostile file can make zipfile and the machine fail in any way
        reason = str(error)[:REASON_SHOWN]
        raise ArtifactError(f"{path} is not readable: {type(error).__name__}: {reason}") from error


class _Reader:
    """Builds what the pickle of an archive names; every storage is read once.

    Args:
        num_bytes: of the archive on disk: its storages have no more.
    """

    def __init__(self, archive: zipfile.ZipFile, num_bytes: int) -> None:
        self.archive, self.bytes_left = archive, num_bytes
        self.entries = {info.filename: info for info in archive.infolist()}
        self.storages: dict[tuple[str, torch.dtype], Storage] = {}
        pickles = [n for n in self.entries if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise ArtifactError("not a torch checkpoint: it holds no data.pkl")
        self.pickle = self.entries[pickles[0]]
        self.prefix = pickles[0].removesuffix("data.pkl")

    def load(self) -> Any:
        if self.pickle.file_size > MAX_PICKLE_BYTES:
            raise ArtifactError("its pickle is larger than any checkpoint needs")
        return PickleMachine(_make, self._storage).run(self.archive.read(self.pickle))

    def _storage(self, pid: Any) -> Storage:
        kind, storage_class, key, _location, numel = pid
        dtype = _dtype(storage_class)
        known = kind == "storage" and isinstance(key, str) and isinstance(numel, int)
        if not known or dtype is None:
            raise ArtifactError("its pickle names a storage of an unknown kind")
        info = self.entries.get(f"{self.prefix}data/{key}")
        if info is None or info.file_size != numel * dtype.itemsize:
            raise ArtifactError(f"storage {key[:9]} is missing or has another size than stated")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError("compressed storages are refused: torch does not write them")
        if (key, dtype) not in self.storages:
            self.bytes_left -= info.file_size
            if self.bytes_left < 0:
                raise ArtifactError("its storages overlap: they have more bytes than the file")
            content = bytearray(self.archive.read(info)) or bytearray(dtype.itemsize)
            values = torch.frombuffer(content, dtype=dtype)[:numel]
            self.storages[key, dtype] = Storage(values)
        return self.storages[key, dtype]


def _dtype(storage_class: Any) -> torch.dtype | None:
    if isinstance(storage_class, Global) and storage_class.module in ("torch", "torch.storage"):
        return DTYPES.get(storage_class.name)
    return None


def _make(function: Global, args: tuple[Any, ...]) -> Any:
    """What a call in the pickle gives: what it gave its maker if known here, else inert."""
    known = KNOWN_FUNCTIONS.get((function.module, function.name))
    return known(*args) if known else InertObject(f"{function.module}.{function.name}", args)


def _rebuild_tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """Does what torch._utils._rebuild_tensor_v2 does, with the extent checked; copies nothing."""
    if not isinstance(storage, Storage) or max(len(size), len(stride)) > MAX_DIMS:
        raise ArtifactError("its pickle makes a tensor of what is none")
    numel, count = len(storage.values), math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (count and last >= numel):
        raise ArtifactError("a tensor reaches beyond its storage")
    if count > numel:
        raise ArtifactError("a tensor is larger than its storage")
    if not count:
        return torch.empty(size, dtype=storage.values.dtype)
    return storage.values.as_strided(size, stride, offset)


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _new_dict(pairs: Any = ()) -> dict[Any, Any]:
    return new_dict([part for key, value in pairs for part in (key, value)])


def _new_list(items: Any = ()) -> list[Any]:
    return list(items)


def _new_size(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items)


def _numpy_scalar(dtype: Any, raw: Any) -> Any:
    """Reads a pickled numpy scalar: strings (UTF-32) become str, the rest an inert object."""
    code = dtype.args[0] if isinstance(dtype, InertObject) and dtype.args else ""
    if isinstance(code, str) and code.startswith(("U", "<U")) and isinstance(raw, bytes):
        return raw.decode("utf-32-le").rstrip("\0")
    return InertObject("numpy.scalar", (dtype, raw))


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ArtifactError("its pickle has a text of an unknown encoding")
    return text.encode(encoding)


KNOWN_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _new_dict,
    ("builtins", "dict"): _new_dict,
    ("builtins", "list"): _new_list,
    ("builtins", "set"): _new_list,
    ("torch", "Size"): _new_size,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
