# Made by `python -m detkit.cli.completion completions/`: edit the verbs, not this file.
_detkit() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verb=${COMP_WORDS[1]} at=1 values='' flags=''
    if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $verb in data)
        at=2
        ((COMP_CWORD > 2)) && verb+=" ${COMP_WORDS[2]}" ;;
    esac
    if ((COMP_CWORD == 1)) || [[ $verb == help ]]; then
        COMPREPLY=($(compgen -W 'train eval reparam quantize export bench compare advise profile search predict import info checks report data help --help --version' -- "$cur"))
        return
    fi
    if ((COMP_CWORD <= at)); then
        case $verb in
        data) COMPREPLY=($(compgen -W 'check convert label synth' -- "$cur")) ;;
        esac
        return
    fi
    case "$verb $prev" in
    'train --train-json'|\
    'train --train-images'|\
    'train --val-json'|\
    'train --val-images'|\
    'train --init'|\
    'train --teacher'|\
    'train -o'|'train --out'|\
    'train -c'|'train --config'|\
    'eval --annotations'|\
    'eval -o'|'eval --out'|\
    'reparam --data'|\
    'reparam -o'|'reparam --out'|\
    'quantize --data'|\
    'quantize -o'|'quantize --out'|\
    'quantize -c'|'quantize --config'|\
    'export --data'|\
    'export -o'|'export --out'|\
    'bench --data'|\
    'bench --baseline'|\
    'bench -o'|'bench --out'|\
    'compare --data'|\
    'compare -o'|'compare --out'|\
    'advise --data'|\
    'advise -o'|'advise --out'|\
    'profile -o'|'profile --out'|\
    'search --latency-profile'|\
    'search --measured'|\
    'search -o'|'search --out'|\
    'search -c'|'search --config'|\
    'predict -o'|'predict --out'|\
    'predict --annotations'|\
    'import -o'|'import --out'|\
    'data check --images'|\
    'data convert -o'|'data convert --out'|\
    'data convert --images'|\
    'data label --model'|\
    'data label -o'|'data label --out'|\
    'data label --annotations'|\
    'data label --classes'|\
    'data label -c'|'data label --config'|\
    'data synth -o'|'data synth --out'|\
    'report -o'|'report --out') compopt -o default; return ;;
    'train --classes'|\
    'train --fraction'|\
    'train --licence'|\
    'train --imgsz'|\
    'train --epochs'|\
    'train --batch'|\
    'train --time-limit'|\
    'train --patience'|\
    'train --loggers'|\
    'train --set'|\
    'train --seed'|\
    'train --threads'|\
    'eval --batch'|\
    'eval --min-ap'|\
    'eval --min-ap50'|\
    'eval --threads'|\
    'quantize --epochs'|\
    'quantize --max-drop'|\
    'quantize --pick'|\
    'quantize --images'|\
    'quantize --calibrator'|\
    'quantize --weight-bits'|\
    'quantize --set'|\
    'quantize --seed'|\
    'quantize --threads'|\
    'export --imgsz'|\
    'export --conf'|\
    'export --iou'|\
    'export --batches'|\
    'export --exporter'|\
    'bench --batch'|\
    'bench --seconds'|\
    'bench --runs'|\
    'bench --max-ms'|\
    'bench --max-regress'|\
    'bench --threads'|\
    'compare --imgsz'|\
    'compare --precision'|\
    'compare --batch'|\
    'compare --seconds'|\
    'compare --runs'|\
    'compare --threads'|\
    'advise --max-ms'|\
    'advise --max-drop'|\
    'advise --threads'|\
    'profile --imgsz'|\
    'profile --classes'|\
    'profile --samples'|\
    'profile --precision'|\
    'profile --max-ms'|\
    'profile --seed'|\
    'profile --threads'|\
    'search --trials'|\
    'search --max-latency-ms'|\
    'search --max-params'|\
    'search --max-macs'|\
    'search --imgsz'|\
    'search --epochs'|\
    'search --ray'|\
    'search --set'|\
    'search --seed'|\
    'search --threads'|\
    'predict --conf'|\
    'predict --iou'|\
    'predict --threads'|\
    'import --licence'|\
    'data check --imgsz'|\
    'data convert --max-dropped'|\
    'data label --score'|\
    'data label --score-of'|\
    'data label --iou'|\
    'data label --max-boxes'|\
    'data label --val-share'|\
    'data label --sheets'|\
    'data label --threads'|\
    'data label --set'|\
    'data synth --train'|\
    'data synth --val'|\
    'data synth --test'|\
    'data synth --size'|\
    'data synth --classes'|\
    'data synth --seed') return ;;
    'train --model') COMPREPLY=($(compgen -W 'yolo-nas-p yolo-nas-n yolo-nas-s yolo-nas-m yolo-nas-l yolov5-s yolov5-m yolov5-l yolov7 yolov7-x yolov8-n yolov8-s yolov8-m yolov8-l yolox-nano yolox-tiny yolox-s yolox-m yolox-l yolox-x' -- "$cur")); return ;;
    'train --outputs'|\
    'eval --outputs'|\
    'bench --outputs'|\
    'predict --outputs'|\
    'data label --outputs') COMPREPLY=($(compgen -W 'yolov5 yolov6 yolov7 yolov8 yolov10 yolov7-nms yolox yolox-decoded detr deformable-detr rt-detr rt-detr-deploy rt-detr-ultralytics rt-detr-ultralytics-raw rf-detr torchvision tensorflow efficientdet effdet rtmdet nanodet nanodet-plus picodet picodet-raw pp-yoloe damo-yolo flat nms raw' -- "$cur")); return ;;
    'train --freeze') COMPREPLY=($(compgen -W 'early backbone backbone+neck' -- "$cur")); return ;;
    'train --device'|\
    'eval --device'|\
    'quantize --device'|\
    'bench --device'|\
    'compare --device'|\
    'profile --device'|\
    'search --device'|\
    'predict --device'|\
    'data label --device') COMPREPLY=($(compgen -W 'auto cpu cuda' -- "$cur")); return ;;
    'eval --split'|\
    'data label --split') COMPREPLY=($(compgen -W 'train val test' -- "$cur")); return ;;
    'eval --scorer') COMPREPLY=($(compgen -W 'fast pycocotools' -- "$cur")); return ;;
    'eval --runtime'|\
    'bench --runtime'|\
    'compare --runtime'|\
    'profile --runtime'|\
    'search --runtime'|\
    'predict --runtime'|\
    'data label --runtime') COMPREPLY=($(compgen -W 'torch onnxruntime openvino tensorrt tensorrt-rtx' -- "$cur")); return ;;
    'quantize --target') COMPREPLY=($(compgen -W 'onnxruntime openvino' -- "$cur")); return ;;
    'export --to') COMPREPLY=($(compgen -W 'onnx openvino tensorrt tensorrt-rtx' -- "$cur")); return ;;
    'export --nms') COMPREPLY=($(compgen -W 'batched flat' -- "$cur")); return ;;
    'export --target') COMPREPLY=($(compgen -W 'onnxruntime openvino tensorrt' -- "$cur")); return ;;
    'bench --scenario') COMPREPLY=($(compgen -W 'latency throughput' -- "$cur")); return ;;
    'profile --space'|\
    'search --space') COMPREPLY=($(compgen -W 'yolo-nas full tiny' -- "$cur")); return ;;
    'search --searcher') COMPREPLY=($(compgen -W 'surrogate evolution rl gradient random' -- "$cur")); return ;;
    'search --evaluator') COMPREPLY=($(compgen -W 'proxy supernet train' -- "$cur")); return ;;
    'search --objective') COMPREPLY=($(compgen -W 'pareto lagrangian weighted' -- "$cur")); return ;;
    'search --precision') COMPREPLY=($(compgen -W 'fp32 fp16 int8' -- "$cur")); return ;;
    'data convert --from') COMPREPLY=($(compgen -W 'voc yolo coco' -- "$cur")); return ;;
    'data convert --box-form') COMPREPLY=($(compgen -W 'xywh xyxy cxcywh' -- "$cur")); return ;;
    'data convert --box-unit') COMPREPLY=($(compgen -W 'pixels shares percent' -- "$cur")); return ;;
    'data label --unmapped') COMPREPLY=($(compgen -W 'keep drop' -- "$cur")); return ;;
    'data label --human-classes') COMPREPLY=($(compgen -W 'complete fill' -- "$cur")); return ;;
    'data synth --kind') COMPREPLY=($(compgen -W 'shapes objects' -- "$cur")); return ;;
    esac
    if [[ $cur != -* ]]; then
        compopt -o default
        return
    fi
    case $verb in
    'train') flags='--train-json --train-images --val-json --val-images --classes --single-cls --fraction --model --init --teacher --outputs --licence --freeze --imgsz --epochs --batch --time-limit --patience --loggers --out --resume --config --set --seed --device --threads --force --dry-run --json --quiet --verbose --help' ;;
    'eval') flags='--split --annotations --shared-classes --scorer --batch --min-ap --min-ap50 --outputs --runtime --device --threads --out --force --json --quiet --verbose --help' ;;
    'reparam') flags='--data --out --force --json --quiet --verbose --help' ;;
    'quantize') flags='--data --int8 --qat --epochs --max-drop --pick --target --images --calibrator --weight-bits --resume --out --config --set --seed --device --threads --force --dry-run --json --quiet --verbose --help' ;;
    'export') flags='--to --imgsz --uint8 --nms --conf --iou --half --batches --target --allow-slower --data --exporter --out --force --json --quiet --verbose --help' ;;
    'bench') flags='--data --batch --seconds --runs --max-ms --scenario --baseline --max-regress --strict --outputs --runtime --device --threads --out --force --json --quiet --verbose --help' ;;
    'compare') flags='--data --imgsz --precision --batch --seconds --runs --strict --runtime --device --threads --out --force --json --quiet --verbose --help' ;;
    'advise') flags='--data --max-ms --max-drop --threads --out --force --json --quiet --verbose --help' ;;
    'profile') flags='--space --imgsz --classes --samples --precision --max-ms --resume --seed --runtime --device --threads --out --force --json --quiet --verbose --help' ;;
    'search') flags='--space --searcher --evaluator --objective --trials --max-latency-ms --max-params --max-macs --imgsz --epochs --runtime --precision --device --latency-profile --measured --ray --out --resume --config --set --seed --threads --force --json --quiet --verbose --help' ;;
    'predict') flags='--out --annotations --conf --iou --outputs --runtime --device --threads --force --json --quiet --verbose --help' ;;
    'import') flags='--licence --out --force --json --quiet --verbose --help' ;;
    'data check') flags='--images --imgsz --strict --json --quiet --verbose --help' ;;
    'data convert') flags='--from --out --images --box-form --box-unit --no-crowd --max-dropped --force --json --quiet --verbose --help' ;;
    'data label') flags='--model --out --annotations --classes --score --score-of --iou --max-boxes --unmapped --human-classes --split --val-share --link --sheets --outputs --runtime --device --threads --config --set --force --json --quiet --verbose --help' ;;
    'data synth') flags='--out --train --val --test --size --kind --classes --seed --force --quiet --verbose --help' ;;
    'info') flags='--accept-edits --json --help' ;;
    'checks') flags='--json --help' ;;
    'report') flags='--out --help' ;;
    esac
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
}
complete -F _detkit detkit
