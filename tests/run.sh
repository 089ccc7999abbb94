#!/usr/bin/env bash
# Makes .venv with the development extras, then runs ruff, mypy and pytest (arguments go to pytest;
# `-n 0` runs all tests in one process).
#
#   tests/run.sh --newest [ARGS...]    the same in .venv-newest, where every package is the newest
#                                      that there is, whatever constraints.txt says
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/examples/venv.sh"
bin=$root/.venv/bin
typing=
if [ "${1:-}" = --newest ]; then
    shift
    bin=$root/.venv-newest/bin
    typing=--no-warn-unused-ignores # of what newer packages say better
    make_newest_venv "$root" dev
    "$bin/python" -m pip --disable-pip-version-check list --format=freeze |
        grep -E '^(torch|onnx[a-z]*|openvino|numpy|pillow|typer|ray|safetensors)==' >&2
else
    make_venv "$root" dev
fi
cd "$root"
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy" $typing
MYPYPATH=benchmarks "$bin/mypy" $typing benchmarks examples
exec "$bin/python" -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal "$@"
