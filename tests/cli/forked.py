"""Runs scripts, each in a process of its own in which torch is imported already.

`conftest.py` starts this file and writes one JSON object a line: script, args, env, cwd, and the
files that take stdout and stderr. It is answered with the exit code. Of detkit nothing is imported
here, so that a script finds what is missing among the imports of a verb.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import onnx  # noqa: F401
import torch  # noqa: F401
import typer  # noqa: F401

TIMEOUT_S = 300


def next_job() -> dict[str, Any]:
    """Returns only in a new process; this one goes on until its input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            job: dict[str, Any] = json.loads(line)
            return job
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def become(job: dict[str, Any]) -> None:
    """Makes this process look as one that was started with `python -c`."""
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv, sys.path[0] = ["-c", *job["args"]], ""
    signal.alarm(TIMEOUT_S)


if __name__ == "__main__":
    job = next_job()
    become(job)
    exec(compile(job["script"], "<string>", "exec"), {"__name__": "__main__"})
