"""Training batches from worker processes, the same ones whatever the number of workers.

The order of an epoch is a function of (seed, epoch), each sample of (seed, epoch, draw): starting
an epoch at any batch gives what an uninterrupted epoch would have given from there. Workers write
their images as bytes into a ring of shared memory made before they are forked, so nothing large
passes through a pipe or /dev/shm.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detkit.config import AugmentConfig
from detkit.core.boxes import Array
from detkit.core.errors import DataError, UsageError
from detkit.data.coco.folder import CocoSplit
from detkit.data.image import Pixels
from detkit.data.training.augment import PAD_VALUE, augment_sample, sample_rng
from detkit.data.training.batch import Batch
from detkit.data.training.image_store import ImageStore, shared_bytes
from detkit.data.training.labels import Labels
from detkit.data.training.sampling import ImageSampling
from detkit.data.training.transforms import LabelSets, Matrix, Sample

PREFETCH = 4  # batches under way in each worker
PATIENCE_S = 5  # for a worker to end before it is killed
ASK_AGAIN_S = 0.2
ORDER_INDEX = (1 << 32) - 1  # no image has this index: the key of an epoch's order
PR_SET_PDEATHSIG = 1  # linux/prctl.h
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C and job schedulers reach workers too


@dataclass(frozen=True)
class _Made:
    """A batch as a worker hands it over: its images are in the ring."""

    slot: int
    colours: Array  # (B, 3, 3)
    boxes_n6: Array
    scores: Array
    sets: LabelSets | None  # (B, L, h, w)


@dataclass(frozen=True)
class _Task:
    """One batch to make: which draws, under which key, into which slot of the ring."""

    slot: int
    epoch: int
    mosaic_on: bool
    draws: tuple[int, ...]


class TrainLoader:
    """Augmented batches of one split, epoch after epoch, from the same workers.

    The last batch of an epoch is left out when it is not full, unless it is the only one. Make and
    use it in the main thread: workers end when the thread that started them does. The global
    random state of torch is not touched.

    Args:
        size: (height, width) of the training images.
        workers: processes that prepare batches; 0 prepares them when they are asked for.
        cache: auto, on or off: decoded images in shared memory (see `store`).
        share: (n, of): this loader's part of every batch, n from 0. Loaders of all parts show
            together what one of the whole does.
        pin: whether pixels are in page-locked memory, which a GPU copies while others compute.

    Raises:
        DataError: no images, or one that cannot be read.
    """

    def __init__(
        self,
        split: CocoSplit,
        *,
        size: tuple[int, int],
        augment: AugmentConfig,
        seed: int,
        batch_size: int,
        workers: int = 0,
        cache: str = "auto",
        pad_value: int = PAD_VALUE,
        share: tuple[int, int] = (0, 1),
        pin: bool = False,
    ) -> None:
        if not split.records:
            raise DataError(f"no images to train on in split '{split.name}'")
        self._seed, self._pin = seed, pin
        self._sampling = ImageSampling(split.records, threshold=augment.repeat_threshold)
        self._batch_size = min(batch_size, self._sampling.num_draws)
        self._share = part_of(self._batch_size, share)
        workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        slots = workers * PREFETCH + 2  # those under way, the one being read, one to spare
        images = self._share.stop - self._share.start
        ring = shared_bytes(slots * images * size[0] * size[1] * 3)
        self._ring_sbhwc = ring.reshape(slots, images, *size, 3)
        store = ImageStore(split.records, size=size, sampling=self._sampling, cache=cache)
        self.cache_bytes = store.cache_bytes
        self._plan = _Plan()
        self._pool = _WorkerPool(workers)
        self._is_watched = False
        samples = _Samples(store, self._ring_sbhwc, augment, seed, pad_value)
        self._known = None if store.known is None else torch.from_numpy(store.known)
        self._loader = _start(samples, self._plan, self._pool)

    @property
    def batches_per_epoch(self) -> int:
        return self._sampling.num_draws // self._batch_size

    def epoch(self, epoch: int, *, close: bool = False, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on; `close` leaves out mosaic and mixup.

        Asking for another epoch ends the one under way.

        Raises:
            DataError: an image that cannot be read, or a worker that died.
        """
        if self._loader is None:
            raise DataError("the loader is closed")
        order = self._sampling.order(sample_rng(self._seed, epoch, ORDER_INDEX))
        rows = order[: self.batches_per_epoch * self._batch_size].reshape(-1, self._batch_size)
        self._plan.tasks = [
            _Task(i % len(self._ring_sbhwc), epoch, not close, tuple(row))
            for i, row in enumerate(rows[start:, self._share].tolist())
        ]
        batches = _quietly_started(self._loader)
        if not self._is_watched:  # after torch's own farewell is registered, to run before it
            atexit.register(_close, weakref.ref(self))
            self._is_watched = True
        try:
            for made in batches:
                yield self._batch(made)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"a process that prepares images died: {error}", hint="workers=0"
            ) from error

    def close(self) -> None:
        """Ends the workers, whatever they do; the loader is of no use afterwards."""
        self._pool.shut_down()
        self._loader = None

    def _batch(self, made: _Made | DataError) -> Batch:
        if isinstance(made, DataError):
            raise made
        labels = Labels(
            boxes=torch.from_numpy(made.boxes_n6),
            scores=torch.from_numpy(made.scores),
            sets=None if made.sets is None else torch.from_numpy(made.sets).long(),
            known=self._known,
        )
        ring_bhwc = self._ring_sbhwc[made.slot]
        if self._pin:
            pixels = torch.from_numpy(ring_bhwc).pin_memory()
        else:  # copied by numpy: threads of torch would wait for the cores that workers have
            pixels = torch.from_numpy(ring_bhwc.copy())
        return Batch(pixels, torch.from_numpy(made.colours), labels)


def part_of(batch_size: int, share: tuple[int, int]) -> slice:
    """The images of a batch that are one part's.

    >>> part_of(8, (1, 2))
    slice(4, 8, None)

    Raises:
        UsageError: they cannot be dealt out evenly.
    """
    number, parts = share
    if batch_size % parts:
        more = -(-batch_size // parts) * parts
        counts = [str(n) for n in range(1, batch_size + 1) if batch_size % n == 0]
        raise UsageError(
            f"{parts} processes cannot share a batch of {batch_size} images evenly",
            hint=f"--batch {more}, or a number of processes that divides it: {', '.join(counts)}",
        )
    images = batch_size // parts
    return slice(number * images, (number + 1) * images)


@dataclass
class _Plan(Sampler[_Task]):
    """The batches of the epoch at hand, as the DataLoader asks for them."""

    tasks: list[_Task] = field(default_factory=list)

    def __iter__(self) -> Iterator[_Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True)
class _Samples(Dataset[_Made | DataError]):
    """Makes a batch: images into the ring, their labels returned. What a worker runs."""

    store: ImageStore
    ring_sbhwc: Pixels
    augment: AugmentConfig
    seed: int
    pad_value: int

    def __getitem__(self, task: _Task) -> _Made | DataError:
        try:
            drawn = [self._sample(task, draw) for draw in task.draws]
        except DataError as error:
            return error
        samples = [sample for sample, _ in drawn]
        for i, sample in enumerate(samples):
            self.ring_sbhwc[task.slot, i] = sample.image_hwc
        rows = [
            np.column_stack([np.full(len(sample.boxes_xyxy), i), sample.classes, sample.boxes_xyxy])
            for i, sample in enumerate(samples)
        ]
        return _Made(
            task.slot,
            np.stack([colour.T for _, colour in drawn]).astype(np.float32),
            np.concatenate([np.zeros((0, 6)), *rows], dtype=np.float32),
            np.concatenate([np.zeros(0), *(sample.scores for sample in samples)], dtype=np.float32),
            stacked_sets([sample.sets for sample in samples]),
        )

    def _sample(self, task: _Task, draw: int) -> tuple[Sample, Matrix]:
        return augment_sample(
            self.store.sampling.image_of(draw),
            self.store,
            self.augment,
            size=(self.ring_sbhwc.shape[2], self.ring_sbhwc.shape[3]),
            rng=sample_rng(self.seed, task.epoch, draw),
            mosaic_on=task.mosaic_on,
            pad_value=self.pad_value,
        )


def stacked_sets(sets: Sequence[LabelSets | None]) -> LabelSets | None:
    """(B, L, h, w) of maps (1 or L, h, w): those of one layer are filled up with `COMPLETE`."""
    maps = [one for one in sets if one is not None]
    if not maps:
        return None
    layers = max(len(one) for one in maps)
    filled = [np.pad(one, ((0, layers - len(one)), (0, 0), (0, 0))) for one in maps]
    return np.stack(filled)  # np.pad fills with zeros, which is COMPLETE


class _WorkerPool:
    """The worker processes, which ignore signals to the whole group until the parent ends them.

    So Ctrl-C, or a SIGTERM from a job scheduler, lets the parent finish its step and save. Shared
    memory holds one byte, whether the pool is shut down, and the process id of each worker.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.parent = workers, os.getpid()
        self._is_shut_down = shared_bytes(1)
        self._pids = shared_bytes(8 * workers).view(np.int64)

    def init_worker(self, worker: int) -> None:
        """Sets up a worker process: its signals, and its end with the parent."""
        self._pids[worker] = os.getpid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != self.parent:
            os._exit(1)

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_shut_down[0]:
            os._exit(0)  # to torch any other code is an accident

    def shut_down(self) -> None:
        """Ends the workers that are still running."""
        self._is_shut_down[0] = 1
        for process in multiprocessing.active_children():
            if process.pid in self._pids.tolist():
                _end(process)


def _end(process: BaseProcess) -> None:
    """Ends a worker by repeated SIGTERM: one just before a wait for work does not end that wait."""
    for _ in range(round(PATIENCE_S / ASK_AGAIN_S)):
        process.terminate()
        process.join(timeout=ASK_AGAIN_S)
        if process.exitcode is not None:
            return
    process.kill()


def _start(
    samples: _Samples, plan: _Plan, pool: _WorkerPool
) -> DataLoader[_Made | DataError] | None:
    workers = pool.workers
    return DataLoader(
        samples,
        sampler=plan,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=pool.init_worker if workers else None,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # torch draws a seed from it; the global one stays as it was
    )


def _unchanged(made: Any) -> Any:
    """Collates nothing: torch's conversion to tensors would travel through /dev/shm."""
    return made


def _quietly_started(loader: DataLoader[_Made | DataError]) -> Iterator[_Made | DataError]:
    """Starts the workers without the warning of Python 3.12+ about forks beside threads.

    torch's and numpy's thread pools are fit for it.

    Workers are forked with signals blocked: one that came before `init_worker` would end them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close(loader: weakref.ref[TrainLoader]) -> None:
    """Closes a loader at exit, where Python waits for workers that ignore its SIGTERM."""
    if (alive := loader()) is not None:
        alive.close()
