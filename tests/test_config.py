from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from detkit.config import (
    AugmentConfig,
    DistillConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
    help_lines,
    resolve,
    to_toml,
)
from detkit.config.fields import Settings, setting
from detkit.core.errors import DetkitError, UsageError

SECTIONS = [AugmentConfig, DistillConfig, LossConfig, OptimConfig]


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_flags_beat_sets_beat_file_beat_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "epochs = 2\nbatch = 2\nseed = 2\n[optim]\nlr = 0.02\nema = 0.2\n")
    config = resolve(
        TrainConfig,
        file=file,
        sets=["batch=3", "seed=3", "optim.lr=0.03"],
        flags={"seed": 4, "device": None},
    )
    assert (config.epochs, config.batch, config.seed, config.device) == (2, 3, 4, "auto")
    assert (config.optim.lr, config.optim.ema) == (0.03, 0.2)
    assert config.loss == LossConfig()


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(
            data='C:\\dir "x"\ttab\nline',
            model="\u6587\u4ef6 \U0001f600 \x7f\x01\u2028.json",
            time_limit=1e-7,
            seed=2**63 - 1,
            optim=OptimConfig(lr=1e-12, clip_norm=1e9),
            augment=AugmentConfig(flip=0.0, degrees=180),
        ),
    ],
)
def test_config_toml_reads_back_equal(tmp_path: Path, config: TrainConfig) -> None:
    assert resolve(TrainConfig, file=write(tmp_path, to_toml(config))) == config


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("epoch = 3", "run.toml: unknown key 'epoch'", "did you mean 'epochs'?"),
        ("[optim]\nlearning = 1", "run.toml.optim: unknown key 'learning'", "known: accumulate, "),
        ("epochs = '3'", "run.toml.epochs: expected int, got '3'", ""),
        ("epochs = 3.0", "run.toml.epochs: expected int, got 3.0", ""),
        ("epochs = 2024-01-01", "run.toml.epochs: expected int, got datetime.date(", ""),
        ("optim = 3", "run.toml.optim: expected a table of settings, got 3", ""),
        ("optim = [", "not valid TOML: ", ""),
        ("epochs = " + "9" * 5000, "not valid TOML: ", ""),
        ("epochs = " + "[" * 5000 + "]" * 5000, "not valid TOML: ", ""),
        (b"data = '\xff'", "not valid TOML: ", ""),
    ],
)
def test_bad_file_is_refused_with_the_place(
    tmp_path: Path, text: bytes | str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(TrainConfig, file=write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.hint.startswith(hint)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "lost.toml", tmp_path):
        with pytest.raises(DetkitError, match=f"cannot read config {path}") as caught:
            resolve(TrainConfig, file=path)
        assert caught.value.exit_code == 1  # as of any input that cannot be read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "--set epochs: write key=value"),
        ("epoch=3", "--set epoch=3: unknown key 'epoch'"),
        ("=3", "--set =3: unknown key ''"),
        ("optim.lrr=1", "--set optim.lrr=1: unknown key 'lrr'"),
        ("optim.lr.x=1", "--set optim.lr.x=1: unknown key 'x'"),
        ("optim=1", "--set optim=1: this is a section; set one of its keys"),
        ("epochs=many", "--set epochs=many: expected int, got 'many'"),
        ("epochs=2.5", "config.epochs: expected int, got 2.5"),
        ("epochs=true", "config.epochs: expected int, got True"),
        (
            "epochs=" + "[" * 9999,
            "--set epochs=" + "[" * 9999 + ": expected int, got '" + "[" * 9999 + "'",
        ),
        ("optim.lr=NaN", "config.optim.lr: expected a finite number, got nan"),
        ("optim.lr=1e999", "config.optim.lr: expected a finite number, got inf"),
    ],
)
def test_bad_set_is_refused_with_its_text(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(TrainConfig, sets=[text])
    assert str(caught.value) == message


def test_set_inside_what_the_file_made_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set optim.lr=1: the file says optim = 3"):
        resolve(TrainConfig, file=write(tmp_path, "optim = 3"), sets=["optim.lr=1"])


def test_set_takes_text_as_it_is_and_trims_blanks() -> None:
    config = resolve(TrainConfig, sets=[" data = a b=c ", "model=3"])
    assert (config.data, config.model) == ("a b=c", "3")


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (TrainConfig, "epochs", -1),
        (TrainConfig, "batch", -1),
        (TrainConfig, "seed", -1),
        (TrainConfig, "workers", 5000),
        (TrainConfig, "amp", "maybe"),
        (TrainConfig, "cache", ""),
        (TrainConfig, "freeze", "head"),
        (AugmentConfig, "mosaic", 1.1),
        (AugmentConfig, "scale", 1.0),
        (AugmentConfig, "hue", -0.1),
        (OptimConfig, "lr", 0.0),
        (OptimConfig, "accumulate", 0),
        (LossConfig, "topk", 0),
        (LossConfig, "iou", -1.0),
    ],
)
def test_value_out_of_range_is_refused_on_construction(
    cls: type[Settings], key: str, value: float | int | str
) -> None:
    with pytest.raises(UsageError, match=key):
        cls(**{key: value})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneSided(Settings):
    least: float = setting(1.0, "a number", least=0.5)
    most: float = setting(1.0, "a number", most=1.5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("least", 0.4, "least: 0.4 is not 0.5 or more"),
        ("most", 1.6, "most: 1.6 is not 1.5 or less"),
    ],
)
def test_one_bound_is_enough(key: str, value: float, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        OneSided(**{key: value})
    assert str(caught.value) == message
    assert OneSided(least=1e9, most=-1e9) == OneSided(least=1e9, most=-1e9)
    text = "\n".join(help_lines(OneSided))
    assert "(from 0.5)" in text
    assert "(up to 1.5)" in text


def test_every_setting_has_its_help_and_every_help_is_printed() -> None:
    lines = help_lines(TrainConfig)
    plain = [item for item in dataclasses.fields(TrainConfig) if "help" in item.metadata]
    nested = [item for section in SECTIONS for item in dataclasses.fields(section)]
    assert len(lines) == len(plain) + len(nested)
    assert "optim.lr=0.001" in "\n".join(lines)
    for line, item in zip(lines, plain, strict=False):
        assert line.startswith(f"{item.name}={json.dumps(item.default)}")
        assert item.metadata["help"] in line


def test_help_lines_fit_a_terminal() -> None:
    assert max(map(len, help_lines(TrainConfig))) <= 100
