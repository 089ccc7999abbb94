"""`detkit search` with shared weights, stopped in the middle of an epoch in every way there is."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from detkit.config import SearchConfig, resolve
from detkit.data.synthetic.synth import synthesize
from detkit.nn.checkpoint import load_checkpoint
from detkit.search.scoring.supernet import train_supernet
from detkit.search.study.study import space_of
from detkit.train.stop import StopSignal
from fixtures.command_line import StartFork
from fixtures.interrupted import PATIENCE_SECONDS, signal_within_an_epoch

TRIALS = 2
EPOCHS = 2
SETTINGS = (
    *("--space", "tiny", "--imgsz", "64", "--trials", str(TRIALS), "--evaluator", "supernet"),
    *("--set", f"supernet.epochs={EPOCHS}", "--set", "supernet.random_nets=0"),
    *("--set", "supernet.recalibration_batches=1", "--set", "cost=macs"),
    *("--set", "train.batch=4", "--set", "train.checkpoint_minutes=0"),
    *("--set", "train.workers=0", "--set", "train.threads=1", "--set", "train.device=cpu"),
)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 32, "val": 4}, size=64, seed=1)
    return folder


def test_signals_and_a_kill_within_an_epoch_lose_nothing(
    start_fork: StartFork, coco: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "out", ("-o", str(tmp_path / "out"), "--resume")
    driver = start_fork("search", str(coco), *SETTINGS, "-o", str(out))
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        stdout, stderr = signal_within_an_epoch(driver, out / "supernet", number)
        assert not any(line for line in stdout.splitlines() if "pareto.json" not in line)
        assert "Traceback" not in stderr
        assert driver.returncode == code, stderr
        assert ("interrupted; continue with: detkit search" in stderr) == (code > 0)
        driver = start_fork("search", *more)
    stdout, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    assert (driver.returncode, stdout) == (0, f"{out}/pareto.json\n"), stderr
    report = json.loads((out / "report.json").read_text())
    assert (report["trials"], report["failed"], report["over_limit"]) == (TRIALS, 0, 0)
    lines = (out / "supernet" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    for point in report["pareto"]:
        assert Path(point["checkpoint"]).is_file()

    config = resolve(SearchConfig, file=out / "search.toml")
    never = tmp_path / "never stopped"
    stop = StopSignal()
    assert train_supernet(config, space_of(config), never, log=lambda _: None, stop=stop)
    whole, _ = load_checkpoint(never / "supernet" / "last.safetensors")
    resumed, _ = load_checkpoint(out / "supernet" / "last.safetensors")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
