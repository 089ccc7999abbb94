#!/usr/bin/env bash
# Makes .venv with the development extras, then runs ruff, mypy and pytest (arguments go to pytest;
# `-n 0` runs all tests in one process).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/examples/venv.sh"
make_venv "$root" dev
cd "$root"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
MYPYPATH=benchmarks .venv/bin/mypy benchmarks examples
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal "$@"
