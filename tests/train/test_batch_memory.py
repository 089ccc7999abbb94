from __future__ import annotations

from unittest.mock import MagicMock

import pytest
import torch

from detkit.train import batch_memory
from detkit.train.batch_memory import StepMemory, batch_that_fits, does_not_fit

GPU = torch.device("cuda")


def test_two_peaks_tell_what_a_step_takes_of_its_own_and_for_each_image() -> None:
    memory = StepMemory.of_peaks({2: 1_200, 6: 1_600})
    assert (memory.fixed, memory.per_image) == (1_000, 100)
    assert memory.images_within(999) == 0
    assert memory.images_within(1_700) == 7
    assert memory.images_within(1_800) == 8
    assert memory.images_within(1_000 + 37 * 100) == 32


@pytest.fixture
def gpu_of(monkeypatch: pytest.MonkeyPatch) -> object:
    """A GPU of so many bytes, on which a step takes 1,000 and 100 for each image."""

    def make(total: int) -> None:
        def peak(_learn: object, images: int, *_: object) -> int:
            used = 1_000 + 100 * images
            if used > total:
                raise torch.OutOfMemoryError
            return used

        monkeypatch.setattr(batch_memory, "_peak", peak)
        monkeypatch.setattr(batch_memory, "free_bytes", lambda _device: total)
        monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)

    return make


@pytest.mark.parametrize(
    ("total", "images"), [(1_100, 0), (2_500, 8), (12_000, 80), (10**9, batch_memory.MOST)]
)
def test_the_batch_leaves_a_fifth_of_the_memory(gpu_of: object, total: int, images: int) -> None:
    gpu_of(total)  # type: ignore[operator]
    assert batch_that_fits(lambda *_: None, (64, 64), GPU) == images


@pytest.mark.parametrize(
    ("total", "hint"),
    [(4_000, "--batch 16 fits"), (1_100, "a smaller --imgsz, or a smaller model")],
)
def test_a_step_out_of_memory_is_told_which_batch_fits(
    gpu_of: object, total: int, hint: str
) -> None:
    gpu_of(total)  # type: ignore[operator]
    error = does_not_fit(MagicMock(), torch.zeros(64, 3, 32, 64))
    assert str(error) == "cpu has not the memory for a step on 64 images of 64x32"
    assert error.hint == hint
