"""The command line as users meet it: in its own process, with streams and exit code apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

RUN_MAIN = "import sys; from detkit.cli.app import main; sys.exit(main())"
Detkit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def detkit() -> Detkit:
    """Runs `detkit ARGS`; `script` replaces the entry point, `env` adds to the environment."""

    def run(
        *args: str, script: str = RUN_MAIN, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *args],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ, **(env or {})},
        )

    return run
