"""What holds for the whole suite: plugins, threads, and what Ctrl-C does to processes."""

from __future__ import annotations

import os
import signal

import pytest

pytest.register_assert_rewrite("fixtures")  # before one plugin imports another
pytest_plugins = (
    "fixtures.annotations",
    "fixtures.cells",
    "fixtures.checkpoints",
    "fixtures.command_line",
    "fixtures.engine_files",
    "fixtures.described_graphs",
    "fixtures.graphs",
    "fixtures.machines",
    "fixtures.parity",
    "fixtures.processes",
    "fixtures.records",
    "fixtures.small_space",
    "fixtures.verbs",
    "skipped_tests",
)

# Threads that spin for work on a busy machine cost far more than they give on images this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the machine that runs the suite says of itself decides how verbs draw; tests say it anew.
for name in ("CI", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(name, None)

# A shell starts what it puts in the background with SIGINT ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
