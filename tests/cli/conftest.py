"""The command line as users meet it: in its own process, with streams and exit code apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RUN_MAIN = "import sys; from detkit.cli.app import main; sys.exit(main())"
FORKED = Path(__file__).with_name("forked.py")
Detkit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detkit]:
    """`fork(ARGS..., script=...)`: as `detkit`, forked from a process that has torch imported."""
    folder = tmp_path_factory.mktemp("streams")
    command = [sys.executable, str(FORKED)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        requests, answers = server.stdin, server.stdout

        def run(*args: str, script: str = RUN_MAIN) -> subprocess.CompletedProcess[str]:
            streams = {name: str(folder / name) for name in ("stdout", "stderr")}
            job = {"script": script, "args": args, "env": dict(os.environ), "cwd": str(Path.cwd())}
            print(json.dumps({**job, **streams}), file=requests, flush=True)
            code = int(answers.readline())
            texts = {name: Path(path).read_text("utf-8") for name, path in streams.items()}
            return subprocess.CompletedProcess(args, code, **texts)

        yield run


@pytest.fixture
def detkit(fork: Detkit) -> Detkit:
    """Runs `detkit ARGS`; `script` replaces the entry point, `env` adds to the environment.

    Either gets a new interpreter, since what is imported and when may be the claim.
    """

    def run(
        *args: str, script: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if not script and not env:
            return fork(*args)
        return subprocess.run(
            [sys.executable, "-c", script or RUN_MAIN, *args],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ, **(env or {})},
        )

    return run
