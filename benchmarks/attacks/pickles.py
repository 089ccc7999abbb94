"""Hostile and damaged pickles in torch's archives: `import` executes nothing, whatever they say.

An audit hook hears of everything that Python does for them: but for opening the file itself there
must be nothing. Each archive has the checksums that it should have, so that all of it is read.
"""

from __future__ import annotations

import functools
import io
import itertools
import pickle
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from attacks.mutation import mutated_bytes, overwrite
from attacks.process import Tally, TooSlowError, in_fork, time_limit
from detkit.core.errors import DetkitError
from detkit.importing.run import read_weights
from detkit.importing.unpickle import read_checkpoint

SECONDS = 5.0  # of one file at most
MORE_BYTES = 2 * 2**30
PREFIX = "archive/"
WARM_UP = (b"", b"N.", b"Vx\n.")  # what is imported when it is first needed has been, after them
STORAGES, STORAGE_BYTES = 4, 64

CALLS = (  # module, name, arguments in pickle's text form
    ("os", "system", "(S'touch gotcha'\nt"),
    ("posix", "system", "(S'touch gotcha'\nt"),
    ("nt", "system", "(S'dir'\nt"),
    ("os", "popen", "(S'id'\nt"),
    ("os", "execv", "(S'/bin/true'\n(lt"),
    ("os", "remove", "(S'gotcha'\nt"),
    ("os", "mkdir", "(S'gotcha'\nt"),
    ("os", "putenv", "(S'A'\nS'B'\nt"),
    ("subprocess", "Popen", "(S'true'\nt"),
    ("subprocess", "check_output", "(S'true'\nt"),
    ("builtins", "eval", "(S'1+1'\nt"),
    ("builtins", "exec", "(S'x=1'\nt"),
    ("builtins", "compile", "(S'1'\nS'x'\nS'eval'\nt"),
    ("builtins", "__import__", "(S'antigravity'\nt"),
    ("builtins", "open", "(S'gotcha'\nS'w'\nt"),
    ("builtins", "getattr", "(S'x'\nS'y'\nt"),
    ("builtins", "breakpoint", "(t"),
    ("__builtin__", "eval", "(S'1+1'\nt"),
    ("importlib", "import_module", "(S'antigravity'\nt"),
    ("runpy", "run_path", "(S'gotcha'\nt"),
    ("pty", "spawn", "(S'true'\nt"),
    ("shutil", "rmtree", "(S'gotcha'\nt"),
    ("socket", "create_connection", "((S'127.0.0.1'\nI9\ntt"),
    ("urllib.request", "urlopen", "(S'http://127.0.0.1:9/'\nt"),
    ("ctypes", "CDLL", "(S'libc.so.6'\nt"),
    ("code", "interact", "(t"),
    ("pickle", "loads", "(S'.'\nt"),
    ("marshal", "loads", "(S'x'\nt"),
    ("types", "CodeType", "(t"),
    ("functools", "partial", "(cos\nsystem\nS'id'\nt"),
    ("operator", "methodcaller", "(S'system'\nS'id'\nt"),
    ("torch", "load", "(S'gotcha'\nt"),
    ("torch.hub", "load", "(S'gotcha'\nS'x'\nt"),
    ("torch", "Tensor.__setstate__", "(t"),
    ("torch.jit", "load", "(S'gotcha'\nt"),
    ("numpy.core.multiarray", "_reconstruct", "(cnumpy\nndarray\n(I0\ntS'b'\nt"),
    ("_io", "FileIO", "(S'gotcha'\nS'w'\nt"),
    ("webbrowser", "open", "(S'http://127.0.0.1:9/'\nt"),
)
FORMS = {  # of a call of a global with a tuple of arguments
    "REDUCE": "c{module}\n{name}\n{args}R.",
    "NEWOBJ": "c{module}\n{name}\n{args}\x81.",
    "BUILD": "c{module}\n{name}\n{args}R}}S'x'\nI1\nsb.",
    "INST": "(i{module}\n{name}\n.",
    "STACK_GLOBAL": "S'{module}'\nS'{name}'\n\x93{args}R.",
    "in a dict": "}}S'state_dict'\nc{module}\n{name}\n{args}Rs.",
}


def read_gadgets(work: Path) -> Tally:
    """Reads every call in every form; the gadgets of pickle scanners' lists among them."""
    return in_fork(
        functools.partial(_watched, "pickle gadgets", work, _gadgets()), more_bytes=MORE_BYTES
    )


def read_mutated(work: Path, *, times: int, seed: int) -> Tally:
    """Reads pickles of real checkpoints, and of gadgets, made wrong in a few places."""
    seeds = [*_gadgets(), *_checkpoints()]
    drawn = _mutated(seeds, times, random.Random(seed))
    return in_fork(
        functools.partial(_watched, "mutated pickles", work, drawn), more_bytes=MORE_BYTES
    )


def _gadgets() -> Iterator[bytes]:
    for module, name, args in CALLS:
        for form in FORMS.values():
            yield form.format(module=module, name=name, args=args).encode("latin-1")


def _checkpoints() -> Iterator[bytes]:
    """Pickles as trainers write them: that of a small network, and values of every kind."""
    buffer = io.BytesIO()
    tensors = {f"layer{n}.weight": torch.zeros(STORAGE_BYTES // 4) for n in range(STORAGES)}
    torch.save({"net": tensors, "epoch": 3}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        yield archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    values = {"epoch": 3, "names": ["a", "b"], "best": 0.5, "args": ({"lr": 1e-3}, None, {1, 2})}
    for protocol in range(6):
        yield pickle.dumps(values, protocol=protocol)


def _mutated(seeds: list[bytes], times: int, draw: random.Random) -> Iterator[bytes]:
    for _ in range(times):
        yield mutated_bytes(draw.choice(seeds), draw)


class _Listener:
    """Hears what Python does while it listens, but for opening the file under attack to read."""

    def __init__(self, path: Path) -> None:
        self.path, self.is_on = str(path), False
        self.heard: list[str] = []
        sys.addaudithook(self._hear)  # for the rest of the process's life

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        is_own = event == "open" and str(args[0]) == self.path and args[1] in ("r", "rb")
        if self.is_on and not is_own:
            self.heard.append(f"{event} {args!r:.100}")


def _watched(what: str, work: Path, pickles: Iterator[bytes]) -> Tally:
    work.mkdir(parents=True, exist_ok=True)
    tally, path = Tally(what), work / "hostile.pth"
    listener = _Listener(path)
    for number, data in enumerate(itertools.chain(WARM_UP, pickles)):
        overwrite(path, _archive(data))
        listener.heard.clear()
        listener.is_on = number >= len(WARM_UP)
        failure, note = "", "refused"
        try:
            with time_limit(SECONDS):
                read_checkpoint(path)
                note = "read"
                read_weights(path)
        except DetkitError:
            pass  # as no checkpoint, or as no network that is known
        except (Exception, TooSlowError) as error:
            failure = f"{type(error).__name__}: {error}"
        if listener.heard:
            failure = f"executed: {listener.heard[0]}"
        if listener.is_on:
            tally.add(f"{failure} of {data[:120]!r}" if failure else "", note=note)
    return tally


def _archive(data: bytes) -> bytes:
    """A torch checkpoint of this pickle, with storages of the names that the small network has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{PREFIX}data.pkl", data)
        for key in range(STORAGES):
            archive.writestr(f"{PREFIX}data/{key}", bytes(STORAGE_BYTES))
    return buffer.getvalue()
