"""`--batch auto`: what it is on a CPU, on a GPU, and where nobody can choose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detkit.config import AUTO_BATCH, SearchConfig, TrainConfig, read_toml
from detkit.core.errors import TrainingError, UsageError
from detkit.train import batch_choice, ranks
from detkit.train.batch_choice import CPU_BATCH, trial_step, with_chosen_batch
from detkit.train.batch_memory import drawn_labels
from detkit.train.setup import build_setup
from fixtures.command_line import Detkit

CPU = torch.device("cpu")


@pytest.fixture
def auto(config: TrainConfig) -> TrainConfig:
    return replace(config, batch=AUTO_BATCH)


def on_gpu(monkeypatch: pytest.MonkeyPatch, *, fits: int) -> None:
    """A GPU that has memory for so many images."""
    monkeypatch.setattr(batch_choice, "find_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(batch_choice, "_images_that_fit", lambda *_: fits)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "a card")


def test_a_cpu_has_the_batch_of_the_recipe(auto: TrainConfig) -> None:
    chosen, (note,) = with_chosen_batch(auto, build_setup(auto))
    assert chosen == replace(auto, batch=CPU_BATCH)
    assert note.startswith(f"batch {CPU_BATCH}: ")


def test_a_gpu_has_what_fits(auto: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu(monkeypatch, fits=6)
    chosen, notes = with_chosen_batch(auto, build_setup(auto))
    assert chosen == replace(auto, batch=6)
    assert notes == ("batch 6: chosen by the memory of a card",)


def test_a_small_set_is_not_one_batch(auto: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu(monkeypatch, fits=256)
    chosen, _ = with_chosen_batch(auto, build_setup(auto))
    assert chosen.batch == 8  # of 16 images


def test_a_gpu_without_memory_is_told_before_the_run(
    auto: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu(monkeypatch, fits=0)
    with pytest.raises(TrainingError, match="not the memory for a step on a few images") as caught:
        with_chosen_batch(auto, build_setup(auto))
    assert "--imgsz" in caught.value.hint


def test_several_processes_are_told_to_name_a_number(
    auto: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = build_setup(auto)
    monkeypatch.setattr(ranks, "is_shared", lambda: True)
    with pytest.raises(UsageError, match="one process"):
        with_chosen_batch(auto, setup)


def test_a_step_is_tried_on_a_copy_of_the_network(config: TrainConfig) -> None:
    setup = build_setup(config)
    before = {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}
    learn = trial_step(config, setup, CPU)
    parts = learn(torch.rand(2, 3, 64, 64), drawn_labels(2, 3, (64, 64)))
    assert parts.total > 0  # type: ignore[attr-defined]
    assert all(torch.equal(before[name], t) for name, t in setup.model.state_dict().items())
    assert all(parameter.grad is None for parameter in setup.model.parameters())


def test_networks_of_a_search_learn_from_batches_of_one_size() -> None:
    with pytest.raises(UsageError, match=r"train\.batch"):
        SearchConfig(train=TrainConfig(batch=AUTO_BATCH))


def test_auto_is_chosen_once_and_kept_by_a_resumed_run(
    fork: Detkit, shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    flags = "--model yolo-nas-p --init none --imgsz 64 --epochs 1 --threads 1 --device cpu".split()
    done = fork("train", str(shapes), *flags, "--batch", "auto", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert f"batch {CPU_BATCH}: " in done.stderr
    assert read_toml(out / "config.toml")["batch"] == CPU_BATCH
    again = fork("train", "-o", str(out), "--resume", "--epochs", "2", "--batch", "auto")
    assert again.returncode == 0, again.stderr
    assert read_toml(out / "config.toml")["batch"] == CPU_BATCH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("many", "invalid value for '--batch': 'many' is neither a number nor auto"),
        ("-1", "batch: -1 is not within 0..65536"),
    ],
)
def test_a_batch_that_is_none_is_refused(
    fork: Detkit, shapes: Path, tmp_path: Path, text: str, words: str
) -> None:
    done = fork("train", str(shapes), "--batch", text, "-o", str(tmp_path / "run"))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
