"""How much memory there is to be had, and when it is given back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
NEVER = 2**31 - 1  # bytes at the end of the heap that are given back


def available_memory() -> int:
    """Bytes to be had without swapping, within the container if there is one; 0 if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 0
    return min(int(kib) << 10, _container_bytes())


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed, from now on in this process; elsewhere nothing happens.

    A training step frees and asks for the same large blocks again and again. By default each goes
    back to the kernel, which clears it page by page when it is asked for the next time.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Leaves cycles of objects uncollected within, where many objects are made that stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, such as torch's, which are RuntimeErrors, says that memory ran out."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(phrase in text for phrase in NO_MEMORY))
    )


def _container_bytes() -> int:
    """What the control group still allows, its page cache counted as used."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return sys.maxsize
    return max(0, int(limit) - used) if limit.isdecimal() else sys.maxsize
