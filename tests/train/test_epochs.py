"""The number of epochs that a run takes when nobody said."""

import dataclasses
from pathlib import Path

import pytest

from detkit.config import TrainConfig
from detkit.train.epochs import choose_epochs
from detkit.train.run import TrainRequest, resolve_config, run_training
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
