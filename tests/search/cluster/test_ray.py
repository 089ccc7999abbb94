"""A search over a real cluster of two nodes on this machine, whose workers are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detkit.config import RayConfig, SearchConfig, resolve
from detkit.core.errors import BackendError, UsageError
from detkit.search.scoring.evaluators import ProxyEvaluator
from detkit.search.scoring.supernet_weights import SupernetWeights
from detkit.search.study.journal import Journal
from detkit.search.study.study import space_of
from detkit.train.stop import StopSignal
from fixtures.processes import DETKIT, StartProcess, ending_processes

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed here"
)
TRIALS = 8
# A proxy that takes long enough for its worker to be found and killed.
SEARCH = ("--space", "tiny", "--imgsz", "64", "--set", "classes=3", "--set", "proxy=zen")
PATIENCE_SECONDS = 120.0  # a busy machine takes long to start a worker


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_node(*options: str) -> Iterator[int]:
    """The process of a node of one CPU; in the end it is killed, with all that it started."""
    quiet = ("--include-log-monitor", "false", "--disable-usage-stats", "--block")
    size = ("--num-cpus", "1", "--object-store-memory", str(80 << 20))
    with ending_processes() as start:
        node = start(
            *(sys.executable, "-m", "ray.scripts.scripts", "start", *options, *size, *quiet),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
        )
        try:
            yield node.pid
        finally:
            below = family(node.pid)
            node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=20)
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def wait_for(what: Callable[[], int], *, step_seconds: float = 0.1) -> int:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(step_seconds)
    raise AssertionError("it did not happen in time")


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(root: int) -> dict[int, str]:
    """The processes below one, with their command lines."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    below, new = set(), {root}
    while new:
        below |= new
        new = {pid for pid, parent in parents.items() if parent in below} - below
    return {pid: command_line(pid) for pid in below - {root}}


def command_line(pid: int) -> str:
    """Words with blanks between them; empty if the process has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    return ""


def find(root: int, name: str) -> int:
    """The process below one whose command line begins with a word, or a path, of this name."""
    lines = family(root).items()
    return next((pid for pid, line in lines if Path(line.split(" ")[0]).name == name), 0)


def freeze(root: int, name: str) -> int:
    """Stops a process; 0 if it is not there, or went on to something else before it stopped."""
    if not (pid := find(root, name)):
        return 0
    os.kill(pid, signal.SIGSTOP)
    if find(root, name) == pid:
        return pid
    os.kill(pid, signal.SIGCONT)
    return 0


def lost(log: Path) -> list[str]:
    """Why tasks of the second node were tried again."""
    return re.findall(r"score: 127\.0\.0\.2: (\w+); trying again", log.read_text())


@pytest.fixture
def start_search(start_process: StartProcess) -> StartProcess:
    """`start_search(ARGS..., log=FILE)`: `detkit search` with its stderr in a file."""

    def start(*args: str, log: Path) -> subprocess.Popen[str]:
        with log.open("a", encoding="utf-8") as stderr:
            return start_process(*DETKIT, "search", *args, stderr=stderr)

    return start


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, int]]:
    """The address of a cluster, and the process of its second node."""
    port = free_port()
    first = ("--head", "--port", str(port), "--node-ip-address", "127.0.0.1")
    alone = ("--include-dashboard", "false", "--temp-dir")
    joins = ("--address", f"127.0.0.1:{port}", "--node-ip-address", "127.0.0.2")
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        running_node(*first, *alone, folder) as head,
    ):
        wait_for(lambda: is_open(port) * find(head, "raylet"))
        with running_node(*joins) as second:
            wait_for(lambda: find(second, "raylet"))
            yield f"127.0.0.1:{port}", second


def test_shared_weights_score_on_workers_as_they_do_here(
    cluster: tuple[str, int],
    start_search: StartProcess,
    settled: Callable[..., Path],
    labelled: Path,
    tmp_path: Path,
) -> None:
    """The weights start from a network that sees what is in the images, and hardly move."""
    out, log = tmp_path / "out", tmp_path / "stderr"
    driver = start_search(
        *(str(labelled), "--space", "tiny", "--imgsz", "64", "--evaluator", "supernet"),
        *("--set", f"supernet.init={settled()}", "--set", "train.optim.lr=1e-12"),
        *("--set", "supernet.epochs=1", "--set", "supernet.random_nets=0"),
        *("--set", "train.workers=0", "--set", "train.device=cpu", "--trials", "4"),
        *("--ray", cluster[0], "-o", str(out)),
        log=log,
    )
    killed = wait_for(lambda: find(cluster[1], "ray::score"))
    os.kill(killed, signal.SIGKILL)
    stdout, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert (driver.returncode, stdout) == (0, f"{out}/pareto.json\n"), log.read_text()
    config = resolve(SearchConfig, file=out / "search.toml")
    weights, space = (
        SupernetWeights(config, out / "supernet" / "last.safetensors"),
        space_of(config),
    )
    journal = Journal(out / "journal.sqlite", {})
    scores = {space.to_arch(trial.point): trial.figures["score"] for trial in journal.completed()}
    journal.close()
    here = {spec: weights.ap(weights.network(spec)) for spec in scores}
    assert len(scores) == 4
    assert max(scores.values()) > 0.05
    assert scores == pytest.approx(here, abs=1e-6)
    for point in json.loads((out / "pareto.json").read_text()):
        assert point["ap"] == pytest.approx(point["score"], abs=1e-6)
        assert Path(point["checkpoint"]).is_file()


def test_every_trial_is_told_once_though_a_worker_and_then_its_node_are_killed(
    cluster: tuple[str, int], start_search: StartProcess, tmp_path: Path
) -> None:
    address, second = cluster
    out = tmp_path / "out"
    log = tmp_path / "stderr"
    driver = start_search(
        *SEARCH, "--trials", str(TRIALS), "--ray", address, "-o", str(out), log=log
    )

    def crash() -> int:
        """Kills a worker until the driver notices: the task may have been done already."""
        if not lost(log) and (worker := freeze(second, "ray::score")):
            os.kill(worker, signal.SIGKILL)
        return len(lost(log))

    wait_for(crash, step_seconds=0.5)
    worker = wait_for(lambda: freeze(second, "ray::score"), step_seconds=0.02)
    for pid in (find(second, "raylet"), worker):
        os.kill(pid, signal.SIGKILL)
    stdout, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert (driver.returncode, stdout) == (0, f"{out}/pareto.json\n"), log.read_text()
    assert lost(log)[0] == "WorkerCrashedError"
    assert len(lost(log)) > 1
    report = json.loads((out / "report.json").read_text())
    assert (report["trials"], report["failed"], len(report["reference_ms"])) == (TRIALS, 0, TRIALS)
    journal = Journal(out / "journal.sqlite", {})
    points = [json.dumps(trial.point, sort_keys=True) for trial in journal.completed()]
    assert (len(set(points)), journal.pending()) == (TRIALS, [])
    journal.close()


@pytest.mark.parametrize("address", ["local", "ray://127.0.0.1:10001", "127.0.0.1", "auto:x"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HOST:PORT of a running cluster, or auto"):
        join(address, tmp_path)


def test_cluster_that_is_not_there_is_said_at_once_and_leaves_stdout_alone(tmp_path: Path) -> None:
    before, stdout = time.monotonic(), sys.stdout
    with pytest.raises(BackendError, match="no Ray cluster at 127"):
        join(f"127.0.0.1:{free_port()}", tmp_path)
    assert time.monotonic() - before < 20
    assert sys.stdout is stdout


def join(address: str, out: Path) -> None:
    from detkit.search.cluster.ray import RayExecutor

    config = SearchConfig(ray=RayConfig(address=address))
    RayExecutor(config, out, evaluator=ProxyEvaluator(config, out, StopSignal()), log=print)
