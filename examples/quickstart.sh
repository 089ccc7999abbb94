#!/usr/bin/env bash
# The whole pipeline, from nothing to an image of detections.
#
#   examples/quickstart.sh              on a small COCO folder that detkit draws itself
#   examples/quickstart.sh --data DIR   on a COCO folder of yours
#
# Needs python3 >= 3.10 with its venv module. Everything is written to runs/quickstart.
set -euo pipefail
. "$(dirname "$0")/demo.sh"
start_demo quickstart "$@"

if [ -z "$data" ]; then
    run data synth -o shapes --train 320 --val 60 --test 60 --size 192
    data=shapes
    training="--model yolo-nas-p --imgsz 160 --epochs 22 --set optim.lr=2e-3"
else
    training="--model yolo-nas-n --imgsz 320 --epochs 30"
fi
run data check "$data" || echo "(what is listed above is left out)"

step "detkit train $data $training -o train"
# shellcheck disable=SC2086
best=$(detkit train "$data" $training -o train)
fused=$(step "detkit reparam $best" >&2; detkit reparam "$best")
onnx=$(step "detkit export --to onnx $fused" >&2; detkit export --to onnx "$fused")
int8=$(step "detkit quantize --int8 $fused" >&2; detkit quantize --int8 "$fused" --data "$data")
# A drawn folder's networks are so small that decoding weighs more than convolutions do.
int8_onnx=$(step "detkit export --to onnx $int8" >&2; detkit export --to onnx --allow-slower "$int8")
ls -l "$best" "$fused" "$onnx" "$int8_onnx" | awk '{print $5, $9}'

run bench "$best" "$fused" "$onnx" "$int8_onnx" --data "$data" -o bench.json
split=test
detkit data check "$data" --json | grep -q '"split": "test"' || split=val
for model in "$best" "$fused" "$onnx" "$int8_onnx"; do
    run eval "$model" "$data" --split "$split"
done
run info "$onnx"
images=$(find "$data" -type f \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' \) | sort | tail -n 8)
step "detkit predict $onnx (8 images) -o detections"
echo "$images" | tr '\n' '\0' | xargs -0 detkit predict "$onnx" -o detections --
step "done: look at $out/train/val_detections.jpg, $out/detections and $out/train/report.html"
