"""The processes of one run, and what they tell each other. Alone, a process talks to nobody.

torchrun starts them (`core.launch`); process n has rank n. All hold the same weights, each learns
from its share of every batch (`train.replica`), and each decides the same at the same step, since
it decides by what all have told. The first one alone writes files and speaks; where one fails, the
first to fail says why, and the others end in silence.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from detkit.core.errors import BackendError, DetkitError, TrainingError, UsageError
from detkit.core.launch import find_launch
from detkit.core.memory import keep_freed_memory
from detkit.machine.fingerprint import usable_cpus

T = TypeVar("T")

TIMEOUT = datetime.timedelta(minutes=30)  # for the slowest thing that the first rank does alone
ASK_AGAIN_S = 0.05
EXIT_BUG = 70
FAILURE, WORK = "detkit/failures", "detkit/work"  # keys in the store
LOST_PEER = (  # of messages of gloo and NCCL, whose errors are RuntimeErrors without a class
    *("gloo", "Gloo", "NCCL", "ncclRemote", "Connection closed by peer"),
    *("Connection reset by peer", "Broken pipe", "Socket Timeout"),
)


@dataclass
class _Meeting:
    """The store that the processes of this run share, and how often the first worked alone."""

    store: Any = None
    turns: int = 0


_meeting = _Meeting()


def is_shared() -> bool:
    """Whether several processes do this run."""
    return dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if is_shared() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if is_shared() else 1


def is_first() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


# --- beginning and end ---------------------------------------------------------------------------


@contextlib.contextmanager
def joined(on_failure: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Meets the other processes of this launch, if there are any, for as long as the block runs.

    An error in it leaves the block in the first process that fails alone, which calls `on_failure`
    before; in the others it becomes the `SystemExit` of its code.

    Raises:
        TrainingError: another process ended, or cannot be reached.
    """
    launch = find_launch()
    if launch.processes == 1:
        yield
        return
    if torch.cuda.is_available() and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    _meeting.store, rank, processes = next(rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if has_nccl else "gloo",
        store=c10d.PrefixStore("group", _meeting.store),
        rank=rank,
        world_size=processes,
        timeout=TIMEOUT,
    )
    try:
        yield
    except Exception as error:
        found = lost_peer(error)
        if not _fails_first():
            raise SystemExit(found.exit_code if isinstance(found, DetkitError) else EXIT_BUG) from (
                error
            )
        on_failure()
        if found is error:
            raise
        raise found from error
    leave()


def leave() -> None:
    """Parts from the other processes: from here on each is on its own."""
    if is_shared():
        gather_rows(torch.zeros(1))  # the store may be that of the first one
        dist.destroy_process_group()


def lost_peer(error: Exception) -> Exception:
    """The error, or what it means where a library says that it cannot reach another process."""
    is_lost = isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in LOST_PEER)
    )
    if not is_lost or isinstance(error, DetkitError):
        return error
    return TrainingError(
        "a process of this run ended or cannot be reached, so all end",
        hint="the same command with --resume goes on from the last saved state; with any number of"
        " processes that divides the batch",
    )


def _fails_first() -> bool:
    """Whether no other process failed before; also where nobody can be asked any more."""
    try:
        return int(_meeting.store.add(FAILURE, 1)) == 1
    except (RuntimeError, dist.DistError):
        return True


# --- what a process may use of its machine -------------------------------------------------------


def threads_per_process() -> int:
    """CPU threads by default: torch's own number, or a share of the cores of this machine.

    torchrun sets OMP_NUM_THREADS to 1 where nobody did; any other number is the user's.
    """
    together = find_launch().local_processes
    if together == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return torch.get_num_threads()
    return max(usable_cpus() // together, 1)


def use_machine(threads: int) -> None:
    """Has torch train with `threads` CPU threads, or this process's share of them for 0."""
    torch.set_num_threads(threads or threads_per_process())
    keep_freed_memory()
    torch.backends.cudnn.benchmark = True  # shapes stay the same for the whole run


def check_device(device: torch.device) -> None:
    """Raises where this process of several cannot have the device to itself.

    Raises:
        UsageError: one device named for all.
        BackendError: more processes than GPUs.
    """
    if not is_shared() or device.type != "cuda":
        return
    if device.index is not None:
        raise UsageError(
            f"--device {device} is one GPU for {world()} processes",
            hint="--device cuda gives each process its own; CUDA_VISIBLE_DEVICES picks which",
        )
    count, launch = torch.cuda.device_count(), find_launch()
    if launch.local_processes > count:
        raise BackendError(
            f"{launch.local_processes} processes on a machine of {count} GPUs",
            hint=f"torchrun --nproc-per-node {count}",
        )


# --- what all tell each other --------------------------------------------------------------------


def gather_rows(row: Tensor) -> Tensor:
    """The rows (n,) of all processes, in their order, as (world, n) float64 on the CPU."""
    mine = row.detach().cpu().double()
    if not is_shared():
        return mine[None]
    rows = [torch.empty_like(mine) for _ in range(world())]
    dist.all_gather(rows, mine)
    return torch.stack(rows)


def normalizer(soft_targets: Tensor) -> Tensor:
    """What a loss summed over this process's images is divided by.

    That is the sum of the soft targets of all processes, at least 1, as a share: gradients are the
    mean over processes, and so are those of one process with all images.
    """
    total = soft_targets.detach().clone()
    if is_shared():
        dist.all_reduce(total)
    return total.clamp(min=1) / world()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Puts in place of each float tensor its mean over the processes."""
    kept = list(tensors)
    if not is_shared() or not kept:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in kept])
    dist.all_reduce(flat)
    flat /= world()
    for tensor, mean in zip(kept, flat.split([t.numel() for t in kept]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def to_first(mine: T) -> list[T]:
    """What every process has, in their order, on the first one; on others only its own."""
    if not is_shared():
        return [mine]
    gathered: list[Any] | None = [None] * world() if is_first() else None
    dist.gather_object(mine, gathered)
    return [mine] if gathered is None else gathered


def from_first(found: T | None) -> T:
    """What the first process has, on all."""
    told = [found]
    if is_shared():
        dist.broadcast_object_list(told)
    assert told[0] is not None
    return told[0]


# --- what the first does alone -------------------------------------------------------------------


def tell_others(said: bool) -> bool:
    """Ends the wait of the other processes in `hear_first`; returns what was said."""
    if is_shared():
        _meeting.turns += 1
        _meeting.store.set(f"{WORK}/{_meeting.turns}", "yes" if said else "no")
    return said


def hear_first() -> bool:
    """Waits, however long, until the first process comes to the same point, for what it says there.

    Raises:
        SystemExit: a process failed before.
    """
    _meeting.turns += 1
    key, store = f"{WORK}/{_meeting.turns}", _meeting.store
    while not store.check([key]):
        if int(store.add(FAILURE, 0)):
            raise SystemExit(1)
        time.sleep(ASK_AGAIN_S)
    return bool(store.get(key) == b"yes")


def first_before_others(work: Callable[[], T]) -> T:
    """What the work gives, which every process does, the first one before all others.

    So that what it leaves in caches is there for them.
    """
    if not is_first():
        hear_first()
        return work()
    done = work()
    tell_others(True)
    return done
