"""Non-maximum suppression inside an ONNX graph, step for step that of `boxes.nms`.

Written in ONNX's own text form. For each image: the `max_candidates` best (anchor, class) pairs,
per-class NonMaxSuppression, the `max_detections` best of what is left, padded with score 0, class
-1. A flat graph gives those of all images as rows instead, without padding.
Legend: B batch, A anchor points, C classes, M detections of an image, N rows.
"""

from __future__ import annotations

import onnx
import onnx.compose
import onnx.parser
from onnx import ModelProto

from detkit.core.boxes import NmsConfig

GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
suppress (float[batch,{A},4] raw_boxes, float[batch,{A},{C}] raw_scores) => ({outputs})
{{
  per_picture = Constant <value = int64[2] {{0, -1}}> ()
  flat = Reshape (raw_scores, per_picture)
  candidates = Constant <value = int64[1] {{{K}}}> ()
  top_scores, top_pairs = TopK <axis = 1> (flat, candidates)
  zero = Constant <value = float[1] {{0.0}}> ()
  nothing = Mul (flat, zero)
  best_flat = ScatterElements <axis = 1> (nothing, top_pairs, top_scores)
  cube = Constant <value = int64[3] {{0, {A}, {C}}}> ()
  best = Reshape (best_flat, cube)
  per_class = Transpose <perm = [0, 2, 1]> (best)
  most = Constant <value = int64[1] {{{M}}}> ()
  iou = Constant <value = float[1] {{{iou}}}> ()
  confidence = Constant <value = float[1] {{{confidence}}}> ()
  picked = NonMaxSuppression (raw_boxes, per_class, most, iou, confidence)
  columns = Constant <value = int64[3] {{0, 2, 1}}> ()
  places = Gather <axis = 1> (picked, columns)
  values = GatherND (raw_scores, places)
  empty = Reshape (nothing, cube)
  survivors = ScatterND (empty, places, values)
  survivors_flat = Reshape (survivors, per_picture)
  det_scores, pairs = TopK <axis = 1> (survivors_flat, most)
  classes = Constant <value = int64[1] {{{C}}}> ()
  found_class = Mod (pairs, classes)
  is_found = Greater (det_scores, zero)
  no_class = Constant <value = int64[1] {{-1}}> ()
  det_classes = Where (is_found, found_class, no_class)
  anchors = Div (pairs, classes)
  last = Constant <value = int64[1] {{-1}}> ()
  anchor_rows = Unsqueeze (anchors, last)
  found_boxes = GatherND <batch_dims = 1> (raw_boxes, anchor_rows)
  found_column = Unsqueeze (is_found, last)
  det_boxes = Where (found_column, found_boxes, zero)
  found_number = Cast <to = 7> (is_found)
  second = Constant <value = int64[1] {{1}}> ()
  num_dets = ReduceSum <keepdims = 1> (found_number, second)
{rows}}}
"""
BATCHED = """int64[batch,1] num_dets, float[batch,{M},4] det_boxes,
      float[batch,{M}] det_scores, int64[batch,{M}] det_classes"""
FLAT = "float[rows,7] detections"
ROWS = """
  found_places = NonZero (is_found)
  row_places = Transpose <perm = [1, 0]> (found_places)
  first = Constant <value = int64[1] {0}> ()
  row_image = Gather <axis = 1> (row_places, first)
  row_box = GatherND (det_boxes, row_places)
  row_score = GatherND (det_scores, row_places)
  row_class = GatherND (det_classes, row_places)
  column = Constant <value = int64[1] {1}> ()
  image_column = Cast <to = 1> (row_image)
  score_column = Unsqueeze (row_score, column)
  class_numbers = Cast <to = 1> (row_class)
  class_column = Unsqueeze (class_numbers, column)
  detections = Concat <axis = 1> (image_column, row_box, score_column, class_column)
"""


def append_nms(model: ModelProto, config: NmsConfig, *, flat: bool = False) -> ModelProto:
    """`model` with its raw `boxes` and `scores` replaced by suppressed detections.

    Outputs: num_dets (B, 1), det_boxes (B, M, 4) xyxy pixels, det_scores and det_classes (B, M);
    of a flat graph detections (N, 7): index in the batch, x1, y1, x2, y2, score, class, image by
    image, the best first.
    """
    shape = [d.dim_value for d in model.graph.output[1].type.tensor_type.shape.dim]
    anchors, classes = shape[1], shape[2]
    pairs = anchors * classes
    most = min(config.max_detections, pairs)
    text = GRAPH.format(
        outputs=FLAT if flat else BATCHED.format(M=most),
        rows=ROWS if flat else "",
        ir_version=model.ir_version,
        opset=model.opset_import[0].version,
        A=anchors,
        C=classes,
        K=min(config.max_candidates, pairs),
        M=most,
        iou=config.iou_threshold,
        confidence=config.score_threshold,
    )
    names = [("boxes", "raw_boxes"), ("scores", "raw_scores")]
    network = onnx.compose.add_prefix(model, "net/", rename_inputs=False, rename_outputs=False)
    merged = onnx.compose.merge_models(network, onnx.parser.parse_model(text), io_map=names)
    onnx.checker.check_model(merged)
    return merged
