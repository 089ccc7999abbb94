"""The number of epochs that a run takes when nobody said."""

import dataclasses
from pathlib import Path

import pytest

from detkit.config import OptimConfig, TrainConfig
from detkit.core.errors import UsageError
from detkit.train.epochs import choose_epochs, other_length_note
from detkit.train.run import TrainRequest, resolve_config, run_training
from detkit.train.state import TrainState
from detkit.train.stop import StopSignal


@pytest.mark.parametrize("from_weights", [False, True])
def test_larger_sets_take_fewer_epochs_within_bounds(from_weights: bool) -> None:
    sizes = (1, 20, 200, 2_000, 20_000, 2_000_000)
    chosen = [choose_epochs(n, TrainConfig(), from_weights=from_weights) for n in sizes]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] == (100 if from_weights else 300)
    assert chosen[-1] == (10 if from_weights else 30)


def test_batches_that_are_summed_make_fewer_steps_and_so_more_epochs() -> None:
    plain = TrainConfig(batch=4)
    summed = dataclasses.replace(plain, optim=dataclasses.replace(plain.optim, accumulate=2))
    larger = dataclasses.replace(plain, batch=8)
    chosen = [choose_epochs(800, c, from_weights=False) for c in (plain, summed, larger)]
    assert chosen == [30, 50, 50]


def test_a_time_limit_decides_where_there_is_one() -> None:
    limited = TrainConfig(time_limit=5.0)
    assert choose_epochs(100_000, limited, from_weights=True) == 100


def test_the_chosen_number_is_said_and_kept_in_the_run_folder(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detkit.train.run.choose_epochs", lambda *_args, **_kwargs: 1)
    lines: list[str] = []
    out = tmp_path / "run"
    rare = dataclasses.replace(config.augment, repeat_threshold=1.0)
    asked = dataclasses.replace(config, epochs=0, augment=rare)
    request = TrainRequest(flags={})
    report = run_training(
        asked,
        out,
        request,
        dry_run=False,
        log=lines.append,
        on_progress=lambda _progress: None,
        stop=StopSignal(),
    )
    assert report is not None
    assert report.epochs == 1
    (shown,) = (line.split()[3] for line in lines if line.startswith("an epoch shows"))
    assert int(shown) > 16
    assert f"1 epochs, chosen for {shown} images; --epochs says otherwise" in lines
    assert "1 epochs, chosen for" in (out / "log.txt").read_text()
    again = resolve_config(TrainRequest(flags={}, resume=True), out)
    assert again.epochs == 1


@pytest.mark.parametrize(("batch", "batches"), [(8, 8), (16, 4), (24, 3), (64, 1), (128, 1)])
def test_a_nominal_batch_is_made_of_smaller_ones(batch: int, batches: int) -> None:
    config = TrainConfig(batch=batch, optim=OptimConfig(nominal_batch=64))
    assert config.batches_per_step == batches
    assert TrainConfig(batch=batch).batches_per_step == 1


def test_a_nominal_batch_and_a_number_of_batches_are_not_both_taken() -> None:
    with pytest.raises(UsageError, match="one of them, not both"):
        OptimConfig(nominal_batch=64, accumulate=2)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (30, ": 3.9e-04 after 30 epochs, where it was 5.0e-05"),
        (0, "a run of 50"),
        (50, "a run of 50"),
    ],
)
def test_a_resumed_run_of_another_length_says_what_rate_it_goes_on_with(
    epoch: int, expected: str
) -> None:
    state = TrainState(epoch=epoch, step=10 * epoch)
    note = other_length_note(30, state, TrainConfig(epochs=50))
    assert note.startswith("50 epochs instead of 30: from here on learning rate and augmentation")
    assert note.endswith(expected)
