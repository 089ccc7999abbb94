"""The queue that benchmarks train by: nothing is run twice, and a stop costs nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from training_queue import Job, Queue, chosen

def job(key, line, needs=""):
    return Job(key, lambda place: {{"said": place.call("sh", "-c", line).strip()}}, needs)

queue = Queue(Path({work!r}), Path({work!r}) / "results.jsonl", parallel={parallel})
print(queue.run([{jobs}]), flush=True)
"""


def script(work: Path, jobs: str, parallel: int = 1) -> list[str]:
    text = SCRIPT.format(benchmarks=str(BENCHMARKS), work=str(work), jobs=jobs, parallel=parallel)
    return [sys.executable, "-c", text]


def run(work: Path, jobs: str, parallel: int = 1) -> str:
    command = script(work, jobs, parallel)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def lines(work: Path) -> dict[str, dict[str, object]]:
    text = (work / "results.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    return {record["key"]: record for record in records}


def test_a_job_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    jobs = f"job('a', 'echo ran >> {tmp_path}/ran; echo 7')"
    run(tmp_path, jobs)
    run(tmp_path, jobs)
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert lines(tmp_path)["a"]["said"] == "7"


def test_a_failure_is_told_with_its_log_and_ends_no_other_job(tmp_path: Path) -> None:
    jobs = "job('bad', 'echo no such set >&2; exit 3'), job('after', 'true', 'bad'), job('b', '')"
    said = run(tmp_path, jobs)
    assert "no such set" in said
    assert said.endswith("['bad']\n")
    assert list(lines(tmp_path)) == ["b"]  # and what needs the failed job is left


def test_jobs_run_side_by_side_and_after_what_they_need(tmp_path: Path) -> None:
    wait = f"while [ ! -e {tmp_path}/there ]; do sleep 0.05; done"
    jobs = f"job('last', 'true', 'b'), job('a', '{wait}'), job('b', 'touch {tmp_path}/there')"
    run(tmp_path, jobs, parallel=2)
    assert set(lines(tmp_path)) == {"a", "b", "last"}


def test_a_stop_is_passed_on_and_the_same_command_goes_on(tmp_path: Path) -> None:
    begun = f"trap 'touch {tmp_path}/saved; exit 1' TERM; touch {tmp_path}/begun; sleep 5 & wait"
    jobs = f"""job('a', "[ -e {tmp_path}/saved ] || {{ {begun}; }}")"""
    with subprocess.Popen(script(tmp_path, jobs), stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert "stopped  a" in process.communicate()[0]
    assert not (tmp_path / "results.jsonl").exists()
    run(tmp_path, jobs)
    assert list(lines(tmp_path)) == ["a"]


def test_a_line_cut_off_by_a_kill_is_left_out_and_its_job_run_again(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"key": "b"}\n{"key": "a", "sai')
    run(tmp_path, "job('a', 'echo 7'), job('b', 'exit 1')")
    text = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(text[0])["key"] == "b"
    assert json.loads(text[2])["said"] == "7"
