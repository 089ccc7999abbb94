"""Which other tool wrote a torch checkpoint, by the names in its pickle, which is not executed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from detkit.core.reading import open_file

READ_BYTES = 1 << 20  # of the pickle: class names come early

# What the pickle of a whole network names -> how that tool makes an ONNX file of it.
EXPORTS = {
    b"ultralytics": "yolo export model={path} format=onnx",
    b"models.yolo": "python export.py --weights {path} --include onnx",
    b"yolov6": "python deploy/ONNX/export_onnx.py --weights {path}",
}


def export_hint(path: Path) -> str:
    """How the tool that pickled a whole network makes an ONNX file of it; nothing if not known."""
    pickled = _pickled(path)
    for mark, line in EXPORTS.items():
        if mark in pickled:
            onnx = path.with_suffix(".onnx")
            export = line.format(path=path)
            return f"make an ONNX file with its tool: {export}; then: detkit info {onnx}"
    return ""


def _pickled(path: Path) -> bytes:
    """The beginning of the checkpoint's pickle; nothing where it is no zip file."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(names[0]) as pickle:
                return pickle.read(READ_BYTES)
    except (OSError, zipfile.BadZipFile, IndexError, NotImplementedError, RuntimeError):
        return b""
