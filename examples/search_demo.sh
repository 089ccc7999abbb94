#!/usr/bin/env bash
# A search on two CPU cores in a few minutes: weights for a whole space are trained once, then a
# model-guided search and a random one, of the same budget, pick detectors from it by AP and by
# latency measured here.
#
#   examples/search_demo.sh              on a small COCO folder that detkit draws itself
#   examples/search_demo.sh --data DIR   on a COCO folder of yours
#
# TRIALS (40), EPOCHS (24) and SEED (0) may be set. Everything is written to runs/search_demo.
set -euo pipefail
. "$(dirname "$0")/demo.sh"
start_demo search_demo "$@"

if [ -z "$data" ]; then
    run data synth -o shapes --train 160 --val 40 --size 96 --classes 3
    data=shapes
fi

# The first search trains the shared weights, the second takes them as they are. One thread, so that
# it does not matter what else runs.
export OMP_NUM_THREADS=1
search() {
    run search "$data" --space "$root/examples/small_space.json" --imgsz 96 --evaluator supernet \
        --trials "${TRIALS:-40}" --seed "${SEED:-0}" --set train.batch=8 --set train.optim.lr=2e-3 \
        --set train.workers=0 --set supernet.recalibration_batches=8 \
        --set supernet.epochs="${EPOCHS:-24}" --set supernet.largest_first=0.5 -o "$@"
}
search surrogate --searcher surrogate
search random --searcher random --set supernet.trained=surrogate/supernet/last.safetensors
unset OMP_NUM_THREADS

step "the two fronts, from one reference point"
python "$root/examples/hypervolumes.py" surrogate random

best=$(python -c 'import json; print(json.load(open("surrogate/pareto.json"))[-1]["checkpoint"])')
run eval "$best" "$data"
step "done: look at $out/surrogate/pareto.html"
