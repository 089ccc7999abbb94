#!/usr/bin/env bash
# What detkit can do with the NVIDIA GPU of this machine, as one JSON object on stdout.
#
#   examples/gpu_check.sh > gpu.json
#
# Trains yolo-nas-n for one epoch, times it in torch, and builds, compares and times its engines by
# TensorRT and TensorRT-RTX, where they are installed. What could not be checked is listed with its
# reason. Exit 0 if nothing failed, also without a GPU; 1 if something did.
# DETKIT_PYTHON names a Python that has detkit, as on a Jetson, whose TensorRT belongs to the
# system's Python; else .venv is made.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${DETKIT_PYTHON:-}" ]; then
    . "$root/examples/venv.sh"
    make_venv "$root" train
    DETKIT_PYTHON=$root/.venv/bin/python
fi
exec "$DETKIT_PYTHON" "$root/examples/gpu_check.py" "$@"
