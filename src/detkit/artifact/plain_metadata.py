"""What exported files say of themselves to programs that know nothing of manifests.

The keys are those of ultralytics' exporter, which other programs look for (`names` and `imgsz` as
Python literals). detkit reads none of them: its own word is the manifest.
"""

from __future__ import annotations

from detkit.artifact.artifact import Manifest
from detkit.artifact.licence import LICENCE_KEY
from detkit.spec.arch import STRIDES

TASK = "detect"


def plain_metadata(manifest: Manifest) -> dict[str, str]:
    """Maps key to text: the classes, the input (height, width), the largest stride, the task."""
    found = {
        "task": TASK,
        "names": repr(dict(enumerate(manifest.class_names))),
        "imgsz": repr(list(manifest.preprocess.size)),
        "stride": str(max(STRIDES)),
    }
    return found | ({LICENCE_KEY: manifest.licence} if manifest.licence else {})
