"""`detkit search` with shared weights, stopped in the middle of an epoch in every way there is."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from detkit.config import SearchConfig, resolve
from detkit.data.synthetic.synth import synthesize
from detkit.nn.checkpoint import load_checkpoint
from detkit.search.scoring.supernet import train_supernet
from detkit.search.study.study import space_of
from detkit.train.stop import StopSignal
from fixtures.processes import DETKIT, StartProcess

TRIALS = 2
PATIENCE_SECONDS = 120.0
SETTINGS = (
    *("--space", "tiny", "--imgsz", "64", "--trials", str(TRIALS), "--evaluator", "supernet"),
    *("--set", "supernet.epochs=3", "--set", "supernet.random_nets=0"),
    *("--set", "train.batch=4", "--set", "train.checkpoint_minutes=0"),
    *("--set", "train.workers=0", "--set", "train.threads=1", "--set", "train.device=cpu"),
)


def reached_in(out: Path) -> tuple[int, int]:
    """Epoch and batch that the shared weights have learnt from; before the first, neither."""
    path = out / "supernet" / "state" / "state.safetensors"
    if not path.is_file():
        return 0, 0
    state = path.read_bytes()  # at once, as the file is replaced while it is read
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    reached = json.loads(header["__metadata__"]["state"])
    return reached["epoch"], reached["batch"]


def stop_within_an_epoch(driver: subprocess.Popen[str], out: Path, number: int) -> str:
    """Sends a signal once there is progress, in an epoch that is not done; returns stderr."""
    before, end = reached_in(out), time.monotonic() + PATIENCE_SECONDS
    while (reached := reached_in(out)) <= before or not reached[1]:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    driver.send_signal(number)
    stdout, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in stderr
    assert not any(line for line in stdout.splitlines() if "pareto.json" not in line)
    return stderr


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 32, "val": 4}, size=64, seed=1)
    return folder


def test_signals_and_a_kill_within_an_epoch_lose_nothing(
    start_process: StartProcess, coco: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "out", ("-o", str(tmp_path / "out"), "--resume")
    driver = start_process(*DETKIT, "search", str(coco), *SETTINGS, "-o", str(out))
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        stderr = stop_within_an_epoch(driver, out, number)
        assert driver.returncode == code, stderr
        assert ("interrupted; continue with: detkit search" in stderr) == (code > 0)
        driver = start_process(*DETKIT, "search", *more)
    stdout, stderr = driver.communicate(timeout=PATIENCE_SECONDS)
    assert (driver.returncode, stdout) == (0, f"{out}/pareto.json\n"), stderr
    report = json.loads((out / "report.json").read_text())
    assert (report["trials"], report["failed"], report["over_limit"]) == (TRIALS, 0, 0)
    lines = (out / "supernet" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
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
