"""The last lines of a run of the suite: which tests were skipped, why, and what has them run."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

DEV = "pip install --editable '.[dev]'"
REMEDIES = {  # what a reason speaks of -> what to do about it; the first that matches
    r"no nvidia gpu": "a machine with an NVIDIA GPU: run examples/gpu_check.sh",
    r"\bfish\b": "apt-get install fish",
    r"\bzsh\b": "apt-get install zsh",
    r"tensorrt.?rtx": f"{DEV}  (x86-64 Linux only)",
    r"tensorrt": "a machine with an NVIDIA GPU, and: pip install 'detkit[tensorrt]'",
    r"\bopenvino\b": DEV,
    r"tensorboard": "pip install 'detkit[tensorboard]'",
    r"mlflow": "pip install 'detkit[mlflow]'",
    r"\bray\b": f"{DEV}  (Ray is not there for the newest Python)",
    r"there is a gpu here": "a machine without a GPU; on this one run examples/gpu_check.sh",
    r"\bgpu\b": "a machine with an NVIDIA GPU: run examples/gpu_check.sh",
    r"\broot\b": "run the suite as another user than root",
    r"\bparity\b": "the folder shared/parity beside the checkout, which the maintainers have",
    r"\blinux\b": "a Linux machine",
}
NOTHING = "nothing: it does not apply here"


def remedy_of(reason: str) -> str:
    """What has a test run that was skipped for this reason."""
    found = (remedy for word, remedy in REMEDIES.items() if re.search(word, reason, re.IGNORECASE))
    return next(found, NOTHING)


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped, in one line; `longrepr` is its file, line and reason."""
    text = report.longrepr[2] if isinstance(report.longrepr, (tuple, list)) else report.longrepr
    return str(text).removeprefix("Skipped: ").splitlines()[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists the reasons, the most frequent first, with their remedies and their files."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    files = defaultdict(list)
    for report in skipped:
        files[reason_of(report)].append(report.nodeid.split("::")[0])
    if not files:
        return
    plural = "test" if len(skipped) == 1 else "tests"
    terminalreporter.section(f"{len(skipped)} {plural} skipped: what would have them run")
    for reason, names in sorted(files.items(), key=lambda item: (-len(item[1]), item[0])):
        terminalreporter.line(f"{len(names):4}  {reason}", yellow=True, bold=True)
        terminalreporter.line(f"      to run: {remedy_of(reason)}")
        terminalreporter.line(f"      in: {', '.join(sorted(set(names)))}")
