#!/usr/bin/env bash
# What detkit can do with the NVIDIA GPU of this machine, as one JSON object on stdout.
#
#   examples/gpu_check.sh [--minutes 8] > gpu.json
#   examples/gpu_check.sh --device cpu --quick      # that the script runs: what needs no GPU
#
# Trains yolo-nas-n for one epoch in mixed precision, alone and as one process of torchrun; times
# training steps (fp32, mixed, compiled), copies (pageable, pinned) and the network in torch; makes it
# INT8; and builds, compares and times engines by TensorRT and TensorRT-RTX where they are installed:
# FP32, FP16, INT8, uint8 input, and one as a CUDA graph. What could not be checked, also for want of
# time, is listed with its reason. Exit 0 if nothing failed, also without a GPU; 1 if something did.
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
