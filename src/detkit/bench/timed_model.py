"""A model opened to be timed, and the images it is fed from: real ones, never zeros.

No two runs in a row get the same image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detkit.artifact.writing import temporary_folder
from detkit.core.boxes import Array
from detkit.core.errors import DataError, UsageError
from detkit.data.draw import save_image
from detkit.data.find_images import find_images
from detkit.data.image import letterbox, network_input, network_pixels, read_image
from detkit.data.synthetic.synth import draw_images
from detkit.engines import ENGINES
from detkit.engines.opening import open_session
from detkit.machine.fingerprint import usable_cpus
from detkit.machine.gpu import gpu_index
from detkit.runtime.batches import is_right_in_batch, only_batch_of
from detkit.runtime.graph_session import DeviceTimes, last_device_times
from detkit.runtime.session import (
    Pixels,
    RawOutputs,
    Session,
    SessionOptions,
    SuppressedOutputs,
    infer,
    takes_pixels,
)
from detkit.spec.onnx_description import OnnxDescription
from detkit.timing.cpu_time import works_in_caller
from detkit.timing.measure import Clock, TimedCall, cycle_inputs
from detkit.timing.plan import TimingPlan

NUM_IMAGES = 8  # different ones, in turn
GPU_IN_FLIGHT = 2  # one is copied while the other is computed


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How every model of one bench is measured."""

    engine: str
    session_options: SessionOptions
    batch: int
    plan: TimingPlan
    scenario: str
    clock: Clock
    cpu_clock: Clock | None = None  # of the thread that calls the engine, where it does the work

    @property
    def gpu(self) -> int | None:
        return (
            None if self.session_options.device == "cpu" else gpu_index(self.session_options.device)
        )


@dataclass(frozen=True)
class TimedModel:
    """One model with as many sessions as batches are in flight, and its image files."""

    path: Path
    sessions: tuple[Session, ...]
    files: tuple[Path, ...]
    batch: int
    description: OnnxDescription | None = None

    @property
    def session(self) -> Session:
        return self.sessions[0]

    def prepare(self, number: int) -> Array | Pixels:
        """Decodes and letterboxes the batch of this number, in the form the engine takes."""
        chosen = _batch_of(self.files, self.batch, number)
        preprocess = self.session.manifest.preprocess
        images = [letterbox(read_image(path), preprocess)[0] for path in chosen]
        if takes_pixels(self.session.manifest):
            return network_pixels(images, preprocess)
        return network_input(images, preprocess)

    def infer(self, images: Array | Pixels) -> RawOutputs | SuppressedOutputs:
        return infer(self.session, images)

    def check_batch(self) -> None:
        """Warns (`DetkitWarning`) where images get other detections in the batch than alone."""
        if self.batch > 1 and not only_batch_of(self.session):
            is_right_in_batch(self.session, self.prepare(0), "what is timed is not what it detects")

    def runs(self) -> list[TimedCall]:
        """Makes calls of the engine alone, one a session, on inputs prepared beforehand.

        A run returns its device's own times, where the engine takes them.
        """
        inputs = [self.prepare(number) for number in range(self._distinct_batches())]

        def infer_timed(session: Session, batch: Array | Pixels) -> DeviceTimes | None:
            infer(session, batch)
            return last_device_times(session)

        return [cycle_inputs(partial(infer_timed, session), inputs) for session in self.sessions]

    def _distinct_batches(self) -> int:
        """How many batches differ: at least 2, at most so many that every image is used once."""
        return max(2, len(self.files) // self.batch)


def _batch_of(files: Sequence[Path], size: int, number: int) -> list[Path]:
    """Picks files in turn; neighbouring batches differ, also where each holds every file."""
    step = size if size % len(files) else size + 1
    return [files[(number * step + i) % len(files)] for i in range(size)]


def cpu_clock_for(models: Sequence[TimedModel], session_options: SessionOptions) -> Clock | None:
    """Gives the clock of the calling thread, if its CPU time says how long each model takes."""
    if session_options.device != "cpu":
        return None
    works = [works_in_caller(model.runs()[0], session_options.threads) for model in models]
    return time.thread_time if all(works) else None


def fill_options(session_options: SessionOptions, scenario: str) -> SessionOptions:
    """Fills in threads and batches in flight for the usable CPUs.

    With latency one batch has all of them, so that engines are comparable; with throughput a
    batch has one thread, and there is one for each CPU, or two on a GPU. Threads that were asked
    for stay.
    """
    cpus = usable_cpus()
    if scenario == "latency":
        return dataclasses.replace(session_options, threads=session_options.threads or cpus)
    threads = session_options.threads or 1
    most = cpus // threads if session_options.device == "cpu" else GPU_IN_FLIGHT
    return dataclasses.replace(session_options, threads=threads, in_flight=max(1, most))


def open_sessions(
    path: Path,
    engine: str,
    session_options: SessionOptions,
    description: OnnxDescription | None = None,
) -> tuple[Session, ...]:
    """Opens a session for each batch in flight.

    Raises:
        UsageError: several in flight, and the engine has no threads of ours.
    """
    first = open_session(
        path, engine=engine, session_options=session_options, description=description
    )
    concurrent = [record.name for record in ENGINES.values() if record.concurrent]
    if session_options.in_flight > 1 and first.engine not in concurrent:
        raise UsageError(
            f"{path.name}: {first.engine} has no throughput scenario",
            hint=f"--scenario throughput works with {' and '.join(concurrent)}; else raise --batch",
        )
    others = (
        open_session(path, engine=engine, session_options=session_options, description=description)
        for _ in range(session_options.in_flight - 1)
    )
    return (first, *others)


# --- images ------------------------------------------------------------------------------------


def trained_on(session: Session) -> Path | None:
    """The folder of images that its manifest names, if it is still there."""
    folder = Path(session.manifest.data)
    return folder if session.manifest.data and folder.is_dir() else None


@contextlib.contextmanager
def image_files(folder: Path | None) -> Iterator[tuple[tuple[Path, ...], str]]:
    """Yields up to `NUM_IMAGES` files spread over the folder, or synthetic ones, and their source.

    Raises:
        DataError: fewer than two images in the folder.
    """
    if folder is not None:
        found = find_images([folder])
        if len(found) < 2:
            raise DataError(f"{folder}: to time on, at least two different images are needed")
        yield tuple(found[:: max(1, len(found) // NUM_IMAGES)][:NUM_IMAGES]), str(folder)
        return
    with temporary_folder() as folder:
        files = [folder / f"{number}.jpg" for number in range(NUM_IMAGES)]
        for path, image in zip(files, draw_images(NUM_IMAGES, size=640), strict=True):
            save_image(path, image)
        yield tuple(files), "synthetic images"
