"""A queue of long measurements that goes on by itself: one line of JSON for each that is done.

What lives here: the order, several jobs at a time, what is done already, a log for each, and
stopping. What a job runs is said elsewhere (`field_jobs`). A job that is done has a line in the
results and is not run again; one that was stopped finds its own folder again and may go on with
what is in it. Two queues over one work folder share the jobs: each job is locked by whoever
runs it, its children included, so one that outlives a killed queue keeps its lock.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any

Record = dict[str, Any]
TAIL_LINES = 12  # of the log of a job that failed
QUIET_SHARE = 0.05  # of all CPUs that other programs may take for minutes to count
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class JobStoppedError(Exception):
    """The queue was asked to end while this job ran."""


class JobFailedError(Exception):
    """A command of the job failed; the message holds the end of its log."""


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        key: its name, the same for the same measurement: the folder, and `key` of its line.
        measure: does the work in the workplace; returns the record.
        needs: key of a job that must be done before, or nothing.
    """

    key: str
    measure: Callable[[Workplace], Record]
    needs: str = ""


@dataclass(frozen=True)
class Workplace:
    """Where a job works: a folder of its own, that of others, and commands with their log."""

    folder: Path
    lock: int
    queue: Queue

    def folder_of(self, key: str) -> Path:
        """The folder of another job."""
        return self.queue.work / key

    def call(self, *command: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Runs a command at low priority; returns its stdout, stderr goes to `log.txt`.

        Raises:
            JobFailedError: it ended with another code than 0.
            JobStoppedError: the queue was stopped meanwhile.
        """
        words = [str(word) for word in command]
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            log.flush()
            process = self.queue.start(words, log.fileno(), self.lock, env or {})
            stdout, _ = process.communicate()
        if self.queue.stopping.is_set():
            raise JobStoppedError
        if process.returncode:
            lines = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
            raise JobFailedError("\n".join(lines.splitlines()[-TAIL_LINES:]))
        return stdout


@dataclass
class Queue:
    """Runs jobs in their order, `parallel` at a time, each with `threads` threads."""

    work: Path
    results: Path
    parallel: int = 1
    threads: int = 1
    stopping: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _children: set[subprocess.Popen[str]] = field(default_factory=set)
    _num_running: int = 0

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """Runs what is not done; returns the keys of the jobs that failed.

        SIGINT and SIGTERM are passed on to what runs, which may save; then the queue ends.
        """
        before = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        waiting = list(jobs)
        failed: list[str] = []
        lanes = [
            threading.Thread(target=self._work_off, args=(waiting, failed))
            for _ in range(self.parallel)
        ]
        try:
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return failed

    def start(
        self, words: Sequence[str], log: int, lock: int, env: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """Starts a command in a session of its own, at low priority and with the job's lock."""
        threads = {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            ["nice", *words],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **threads, **env},
            start_new_session=True,
            pass_fds=(lock,),
        )
        self._children.add(process)
        if self.stopping.is_set():
            process.terminate()
        return process

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()
        for process in tuple(self._children):
            if process.poll() is None:
                with suppress(ProcessLookupError):  # ended meanwhile
                    os.killpg(process.pid, signal.SIGTERM)

    def _work_off(self, waiting: list[Job], failed: list[str]) -> None:
        """Takes jobs until none is left that can be run."""
        while (taken := self._take(waiting, failed)) is not None:
            job, lock = taken
            try:
                self._measure(job, lock)
            except JobStoppedError:
                print(f"stopped  {job.key}", flush=True)
                return
            except Exception as error:  # one job must not end the others
                failed.append(job.key)
                print(f"FAILED   {job.key}: {error}", flush=True)
            finally:
                os.close(lock)
                with self._turn:
                    self._num_running -= 1
                    self._turn.notify_all()

    def _take(self, waiting: list[Job], failed: list[str]) -> tuple[Job, int] | None:
        """The first job that nobody runs and whose need is met, with its lock."""
        with self._turn:
            while not self.stopping.is_set():
                done = {record["key"] for record in read_records(self.results)}
                waiting[:] = [job for job in waiting if job.key not in done]
                for job in waiting:
                    if job.needs and job.needs not in done:
                        continue
                    if (lock := self._lock(job)) is not None:
                        waiting.remove(job)
                        self._num_running += 1
                        return job, lock
                if not waiting or not self._num_running:
                    return None
                self._turn.wait(timeout=5)
        return None

    def _lock(self, job: Job) -> int | None:
        """Takes the lock of a job, None where another process has it."""
        folder = self.work / job.key
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _measure(self, job: Job, lock: int) -> None:
        """Runs one job and writes its line."""
        print(f"started  {job.key}", flush=True)
        began, usage = time.monotonic(), self._cpu_seconds()
        record = job.measure(Workplace(self.work / job.key, lock, self))
        seconds = time.monotonic() - began
        busy, own = (now - then for now, then in zip(self._cpu_seconds(), usage, strict=True))
        others = max(busy - own, 0) / seconds / (os.cpu_count() or 1)
        line = {
            "key": job.key,
            **record,
            "threads": self.threads,
            "parallel": self.parallel,
            "wall_seconds": round(seconds, 1),
            "others_cpu_share": round(others, 3),
            "quiet": others < QUIET_SHARE,
            "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }
        add_record(self.results, line)
        print(f"done     {job.key}  {seconds / 60:.1f} min", flush=True)

    def _cpu_seconds(self) -> tuple[float, float]:
        """CPU time since boot of all programs, and of those that this queue started."""
        sessions = {process.pid for process in tuple(self._children)}
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return _busy_seconds(), own + _seconds_of_sessions(sessions)


def _busy_seconds() -> float:
    """CPU time that all CPUs have worked since boot, this guest's own."""
    user, nice, system, _, _, irq, soft = Path("/proc/stat").read_text().split()[1:8]
    return sum(map(int, (user, nice, system, irq, soft))) / CLOCK_TICKS


def _seconds_of_sessions(sessions: set[int]) -> float:
    """CPU time of the living processes of these sessions, and of their children that ended."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[3]) in sessions:
            ticks += sum(map(int, fields[11:15]))
    return ticks / CLOCK_TICKS


def read_records(path: Path) -> list[Record]:
    """The lines of the results, the last of each key; a line cut off by a kill is left out."""
    found: dict[str, Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[record["key"]] = record
    return list(found.values())


def add_record(path: Path, record: Record) -> None:
    """Adds one line, on the disk when this returns; several processes may add to one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        is_cut_off = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            is_cut_off = file.read(1) != b"\n"
        file.write(b"\n" * is_cut_off + json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def chosen(jobs: Iterable[Job], patterns: Sequence[str]) -> list[Job]:
    """The jobs, each key once, that match one of the patterns (`bccd-*`); all without any."""
    by_key = {job.key: job for job in jobs}
    keys = [key for key in by_key if not patterns or any(fnmatch(key, p) for p in patterns)]
    if not keys:
        raise SystemExit(f"no job matches {', '.join(patterns)}")
    return [by_key[key] for key in keys]


def plan_lines(jobs: Sequence[Job], queue: Queue) -> list[str]:
    """What a run would do, a line a job: done, begun or to do."""
    done = {record["key"] for record in read_records(queue.results)}

    def state(job: Job) -> str:
        if job.key in done:
            return "done"
        return "begun" if (queue.work / job.key / "log.txt").is_file() else "to do"

    lines = [f"{state(job):<6} {job.key}" for job in jobs]
    return [*lines, f"{sum(job.key in done for job in jobs)} of {len(jobs)} done"]


def add_queue_arguments(parser: argparse.ArgumentParser, results: Path) -> None:
    """The arguments of scripts that run a queue."""
    parser.add_argument("data", type=Path, help="folder of the sets")
    parser.add_argument("work", type=Path, help="folder for runs and logs")
    parser.add_argument("--starter", type=Path, default=None, help="checkpoint to start from")
    parser.add_argument("--only", action="append", default=[], help="keys such as 'bccd-*'")
    parser.add_argument("--parallel", type=int, default=1, help="jobs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=results)


def run_or_show(jobs: Sequence[Job], args: argparse.Namespace) -> None:
    """Runs the queue, or prints what it would do; exit 1 where a job failed."""
    queue = Queue(args.work, args.results, parallel=args.parallel, threads=args.threads)
    if args.verb == "plan":
        print("\n".join(plan_lines(jobs, queue)))
        return
    failed = queue.run(jobs)
    if failed:
        sys.exit(f"{len(failed)} failed: {', '.join(failed)}")
    if queue.stopping.is_set():
        sys.exit("stopped; the same command goes on")
