from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detkit.config import AugmentConfig
from detkit.core.errors import DataError
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.data.training.batch import Batch
from detkit.data.training.image_store import ImageStore
from detkit.data.training.labels import certain
from detkit.data.training.loader import TrainLoader
from fixtures.processes import StartProcess

MakeLoader = Callable[..., TrainLoader]
STILL = AugmentConfig(mosaic=0, scale=0, translate=0, flip=0, hue=0, saturation=0, brightness=0)


@pytest.fixture
def split(shapes: Path) -> CocoSplit:
    return open_folder(shapes).split("train")  # 11 images


@pytest.fixture
def make_loader(split: CocoSplit) -> Iterator[MakeLoader]:
    made = []

    def make(**changes: object) -> TrainLoader:
        settings = {"size": (64, 96), "augment": AugmentConfig(mixup=0.3), "seed": 5}
        loader = TrainLoader(split, **{**settings, "batch_size": 2, **changes})  # type: ignore[arg-type]
        made.append(loader)
        return loader

    yield make
    for loader in made:
        loader.close()


def same(a: list[Batch], b: list[Batch]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(
        torch.equal(x.pixels, y.pixels)
        and torch.equal(x.colours, y.colours)
        and torch.equal(x.labels.boxes, y.labels.boxes)
        for x, y in pairs
    )


# --- what a batch is -----------------------------------------------------------------------------


def test_batches_are_images_and_boxes_of_the_right_form(make_loader: MakeLoader) -> None:
    batch = next(make_loader(batch_size=4).epoch(0))
    images = batch.images_on(torch.device("cpu"))
    assert images.shape == (4, 3, 64, 96)
    assert images.dtype == batch.labels.boxes.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= images.min() < images.max() <= 1
    assert batch.labels.boxes.shape[1] == 6
    assert set(batch.labels.boxes[:, 0].tolist()) <= {0, 1, 2, 3}
    assert (batch.labels.boxes[:, 4:] > batch.labels.boxes[:, 2:4]).all()


def test_colours_change_on_the_device_and_saturate() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 3), dtype=torch.uint8)
    colours = torch.stack([torch.eye(3), torch.tensor([[0, 0, 1.5], [1, 0, 0], [0, -1, 0]])])
    labels = certain(torch.zeros(0, 6))
    images = Batch(pixels, colours, labels).images_on(torch.device("cpu"))
    red, green, blue = pixels[1].float().unbind(-1)
    assert torch.allclose(images[0], pixels[0].permute(2, 0, 1) / 255)
    wanted = torch.stack([green, -blue, 1.5 * red]).clamp(0, 255) / 255
    assert torch.allclose(images[1], wanted, atol=1e-6)


def test_an_epoch_shows_every_image_at_most_once(make_loader: MakeLoader) -> None:
    loader = make_loader(augment=STILL, batch_size=3)
    images = torch.cat([batch.pixels for batch in loader.epoch(0)])
    assert loader.batches_per_epoch == 3  # 11 images: the last batch is not full
    assert len(torch.unique(images.flatten(1), dim=0)) == len(images) == 9


def test_a_batch_larger_than_the_split_is_the_split(make_loader: MakeLoader) -> None:
    loader = make_loader(batch_size=64)
    assert [len(batch.pixels) for batch in loader.epoch(0)] == [11]


def test_close_turns_the_mosaic_off(make_loader: MakeLoader, split: CocoSplit) -> None:
    loader = make_loader(batch_size=11, augment=replace(STILL, mosaic=1.0, mixup=1.0))
    opened, closed = next(loader.epoch(0)), next(loader.epoch(0, close=True))
    assert len(closed.labels.boxes) == sum(len(record.classes) for record in split.records)
    assert len(opened.labels.boxes) > 2 * len(closed.labels.boxes)


# --- resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_resumed_epoch_equals_the_uninterrupted_one(make_loader: MakeLoader, workers: int) -> None:
    whole = list(make_loader().epoch(3))
    loader = make_loader(workers=workers)
    assert same(list(loader.epoch(3)), whole)
    for start in (1, 4):
        assert same(list(make_loader(workers=workers).epoch(3, start=start)), whole[start:])
    assert list(loader.epoch(3, start=5)) == []


def test_an_epoch_with_repeated_images_goes_on_at_any_batch(make_loader: MakeLoader) -> None:
    repeated = AugmentConfig(mixup=0.3, repeat_threshold=1.0)
    loader = make_loader(augment=repeated)
    whole = list(loader.epoch(3))
    assert len(whole) == loader.batches_per_epoch > make_loader().batches_per_epoch
    assert same(list(make_loader(augment=repeated, workers=2).epoch(3, start=4)), whole[4:])
    assert not same(whole, list(loader.epoch(4)))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_early_does_not_disturb_the_next(
    make_loader: MakeLoader, workers: int
) -> None:
    loader = make_loader(workers=workers)
    next(loader.epoch(0))
    assert same(list(loader.epoch(1)), list(make_loader().epoch(1)))


def test_kept_batches_are_not_written_over(make_loader: MakeLoader) -> None:
    loader = make_loader(workers=2, batch_size=1)
    kept = []
    for batch in loader.epoch(0):
        kept.append((batch, batch.pixels.clone()))
        time.sleep(0.01)  # lets the workers run ahead
    assert all(torch.equal(batch.pixels, copy) for batch, copy in kept)


def test_epochs_and_seeds_differ(make_loader: MakeLoader) -> None:
    first = next(make_loader().epoch(0))
    assert not torch.equal(first.pixels, next(make_loader().epoch(1)).pixels)
    assert not torch.equal(first.pixels, next(make_loader(seed=6).epoch(0)).pixels)


@pytest.mark.parametrize("workers", [0, 1])
def test_random_state_of_torch_is_not_touched(make_loader: MakeLoader, workers: int) -> None:
    before = torch.get_rng_state()
    list(make_loader(workers=workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


# --- the cache -----------------------------------------------------------------------------------


def test_cache_changes_nothing_but_speed(make_loader: MakeLoader) -> None:
    cached, plain = make_loader(cache="on"), make_loader(cache="off")
    assert cached.cache_bytes == 11 * 64 * 64 * 3
    assert plain.cache_bytes == 0
    assert same(list(cached.epoch(0)), list(plain.epoch(0)))


def test_cache_is_automatic_while_it_takes_little_memory(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 11 * 64 * 64 * 3
    for available, cached in ((4 * needed + 4, True), (4 * needed, False)):
        available_memory = "detkit.data.training.image_store.available_memory"
        monkeypatch.setattr(available_memory, lambda n=available: n)
        assert bool(ImageStore(split.records, size=(64, 64)).cache_bytes) == cached


def test_cache_asked_for_that_cannot_fit_is_an_error(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detkit.data.training.image_store.available_memory", lambda: 1000)
    with pytest.raises(DataError, match="image cache needs"):
        ImageStore(split.records, size=(64, 64), cache="on")


def test_crowds_are_no_targets(split: CocoSplit) -> None:
    record = next(r for r in split.records if len(r.classes) > 1)
    crowd = np.arange(len(record.classes)) == 0
    store = ImageStore([replace(record, crowd=crowd)], size=(32, 32), cache="off")
    sample = store.sample(0)
    assert sample.classes.tolist() == record.classes[1:].tolist()
    assert np.allclose(sample.boxes_xyxy, record.boxes_xyxy[1:] / 2)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_batches_know_what_their_labels_speak_of(
    make_loader: MakeLoader, split: CocoSplit, mixup: float
) -> None:
    classes = len(split.class_names)
    first_only = np.arange(classes) == 0
    records = [
        replace(record, known=first_only if number % 2 else None)
        for number, record in enumerate(split.records)
    ]
    mixed = replace(split, records=tuple(records))
    settings = {"size": (64, 96), "augment": AugmentConfig(mixup=mixup), "seed": 0}
    for workers in (0, 1):
        loader = TrainLoader(mixed, batch_size=4, workers=workers, **settings)  # type: ignore[arg-type]
        batch = next(iter(loader.epoch(0)))
        loader.close()
        labels = batch.labels
        assert labels.known is not None
        assert labels.sets is not None
        assert labels.known.tolist() == [[True] * classes, first_only.tolist()]
        assert labels.sets.shape == (4, 2 if mixup else 1, 8, 12)
        assert set(labels.sets.unique().tolist()) == {0, 1}
    assert next(iter(make_loader().epoch(0))).labels.sets is None


def test_boxes_keep_their_scores(split: CocoSplit) -> None:
    records = [
        replace(record, scores=(record.classes + 1) / np.float32(8)) for record in split.records
    ]
    scored = replace(split, records=tuple(records))
    loader = TrainLoader(scored, size=(64, 96), augment=AugmentConfig(), seed=0, batch_size=4)
    for batch in loader.epoch(0):
        assert torch.equal(batch.labels.scores, (batch.labels.boxes[:, 1] + 1) / 8)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_gone_since_is_a_data_error(
    make_loader: MakeLoader, split: CocoSplit, tmp_path: Path, workers: int
) -> None:
    gone = replace(split.records[0], path=tmp_path / "gone.jpg")
    broken = replace(split, records=(gone, *split.records[1:]))
    settings = {"size": (64, 64), "augment": AugmentConfig(), "seed": 0, "batch_size": 11}
    loader = TrainLoader(broken, workers=workers, cache="off", **settings)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        list(loader.epoch(0))
    loader.close()
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        TrainLoader(broken, cache="on", **settings)  # type: ignore[arg-type]


def test_a_split_without_images_is_a_data_error(split: CocoSplit) -> None:
    with pytest.raises(DataError, match="no images to train on"):
        TrainLoader(
            replace(split, records=()),
            size=(64, 64),
            augment=AugmentConfig(),
            seed=0,
            batch_size=2,
        )


def test_a_closed_loader_says_so(make_loader: MakeLoader) -> None:
    others = children(os.getpid())
    loader = make_loader(workers=1)
    next(loader.epoch(0))
    assert len(children(os.getpid())) == len(others) + 1
    loader.close()
    assert children(os.getpid()) == others
    with pytest.raises(DataError, match="closed"):
        next(loader.epoch(0))


# --- processes -----------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split() if is_running(int(child))]


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


LATE_WORKER = """
import time
from detkit.data.training.loader import _WorkerPool
init_worker = _WorkerPool.init_worker
def init_late(pool, worker):
    time.sleep(worker)
    init_worker(pool, worker)
_WorkerPool.init_worker = init_late
"""
SCRIPT = """
import sys, time
from pathlib import Path
from detkit.config import AugmentConfig
from detkit.data.coco.folder import open_folder
from detkit.data.training.loader import TrainLoader
loader = TrainLoader(
    open_folder(Path(sys.argv[1])).split("train"),
    size=(64, 64), augment=AugmentConfig(), seed=0, batch_size=2, workers=2,
)
batches = loader.epoch(0)
next(batches)
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    if sys.argv[2] == "fail":
        raise
print(sum(1 for _ in batches), flush=True)
"""


@pytest.fixture
def training(shapes: Path, start_process: StartProcess) -> StartProcess:
    """Starts a process group with a loader of two workers that waits for a SIGINT.

    The script `before` is run first.
    """

    def start(ending: str, before: str = "") -> subprocess.Popen[str]:
        script = (sys.executable, "-c", before + SCRIPT, str(shapes), ending)
        process = start_process(*script, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def test_workers_end_with_a_killed_parent(
    training: StartProcess,
) -> None:
    process = training("never")
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    assert wait_until(lambda: not any(map(is_running, workers)))


@pytest.mark.parametrize("before", ["", LATE_WORKER], ids=["ready", "starting"])
def test_workers_leave_signals_to_the_parent_and_end_with_it(
    training: StartProcess, before: str
) -> None:
    process = training("go on", before)
    workers = children(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (out, errors, process.returncode) == ("4\n", "", 0)
    assert wait_until(lambda: not any(map(is_running, workers)))


def test_an_error_while_an_epoch_is_under_way_ends_all(
    training: StartProcess,
) -> None:
    process = training("fail")
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert wait_until(lambda: not any(map(is_running, workers)))


def test_a_killed_worker_is_a_data_error(make_loader: MakeLoader) -> None:
    others = children(os.getpid())
    loader = make_loader(workers=1, batch_size=1)
    batches = loader.epoch(0)
    next(batches)
    (worker,) = set(children(os.getpid())) - set(others)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(DataError, match="a process that prepares images died"):
        list(batches)
