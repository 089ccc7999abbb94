"""How exported graphs that suppress by themselves give their detections."""

from __future__ import annotations

# What `--nms` calls the outputs -> the form of the artifact.
NMS_FORMS = {"batched": "nms", "flat": "nms-flat"}
