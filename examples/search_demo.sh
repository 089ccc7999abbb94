#!/usr/bin/env bash
# A search on two CPU cores in a few minutes: a model-guided one against a random one of the same
# budget, then the best architecture that was found, trained.
#
#   examples/search_demo.sh              on a small COCO folder that detkit draws itself
#   examples/search_demo.sh --data DIR   on a COCO folder of yours
#
# TRIALS (64) and SEED (0) may be set. Everything is written to runs/search_demo.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/examples/venv.sh"

data=
case ${1:-} in
    "") ;;
    --data) data=$(cd "${2:?--data needs a folder}" && pwd) ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

make_venv "$root"
PATH=$root/.venv/bin:$PATH
out=$root/runs/search_demo
rm -rf "$out" && mkdir -p "$out"
cd "$out"
began=$SECONDS

step() { printf '\n[%3ds] %s\n' $((SECONDS - began)) "$*"; }
run() { step "detkit $*"; detkit "$@"; }

if [ -z "$data" ]; then
    run data synth -o shapes --train 160 --val 40 --size 160
    data=shapes
fi

# Scores are Zen's, which need no training; latency is measured here. One thread, so that it does
# not matter what else runs.
export OMP_NUM_THREADS=1
for searcher in surrogate random; do
    run search "$data" --space "$root/examples/small_space.json" --imgsz 160 --set proxy=zen \
        --searcher "$searcher" --trials "${TRIALS:-64}" --seed "${SEED:-0}" -o "$searcher"
done
unset OMP_NUM_THREADS

step "the two fronts, from one reference point"
python "$root/examples/hypervolumes.py" surrogate random

best=$(python -c 'import json; print(json.load(open("surrogate/pareto.json"))[-1]["digest"])')
run train "$data" --model "surrogate/front/$best.json" --imgsz 160 --epochs 4 \
    --set optim.lr=2e-3 -o trained
step "done: look at $out/surrogate/pareto.html"
