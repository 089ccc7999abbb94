"""Checkpoint -> OpenVINO's NAME.xml and NAME.bin, from the same graph as the ONNX file."""

from __future__ import annotations

import dataclasses
import errno
import functools
import io
import os
import re
from pathlib import Path
from typing import Any

from onnx import ModelProto

from detkit.artifact.artifact import METADATA_KEY, Manifest, versions, write_pair
from detkit.artifact.plain_metadata import plain_metadata
from detkit.artifact.writing import temporary_folder
from detkit.core.reading import bytes_of
from detkit.engines.convert import EXACT, FileFormat, Tolerance, convert_checkpoint
from detkit.engines.exporting import ExportOptions
from detkit.engines.openvino.api import ov
from detkit.report import ConversionReport

EXTENT = re.compile(rb'offset="(\d+)"[^>]*? size="(\d+)"')  # of a constant in the .bin
# Weights rounded to float16 move a trained yolo-nas-n (BCCD, 320 px) by 0.009 of a score, 0.44 px
# of a box and 0.0005 of AP; a network of random weights moves a few times as far.
HALF_TOLERANCE = Tolerance(score=5e-2, box_px=8.0, least_score=0.25)


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes `out` (.xml) and the weights beside it; see `engines.convert.convert_checkpoint`.

    Weights are float32, and the network is computed as torch computes it. With `options.half` they
    are kept in float16 and widened when the file is opened: half the size, a slightly other model.
    """
    file_format = FileFormat(
        suffix=".xml",
        write=functools.partial(write_openvino, half=options.half),
        tolerance=HALF_TOLERANCE if options.half else EXACT,
    )
    report = convert_checkpoint(checkpoint, out, options, file_format)
    notes = {} if "int8_convolutions" in report.notes else {"weights": "float32 (--half halves)"}
    if options.half:
        notes = {
            "weights": "float16 in the file, float32 in use",
            "boxes_compared": f"those that score {HALF_TOLERANCE.least_score} or more",
        }
    return dataclasses.replace(report, notes={**report.notes, **notes})


def write_openvino(
    graph: ModelProto, manifest: Manifest, out: Path, *, half: bool = False
) -> Manifest:
    """Converts an ONNX graph, float or with Q/DQ nodes, and writes NAME.xml and NAME.bin.

    The manifest lies in rt_info under its own key. Beside it, in model_info, are the class names as
    OpenVINO's other tools expect them (labels), and what `plain_metadata` gives.

    Args:
        out: the .xml.
        half: keep weights that are float32 as float16.

    Returns:
        The manifest as sealed, of kind openvino.
    """
    is_half = half and manifest.precision == "fp32"
    manifest = dataclasses.replace(
        manifest,
        kind="openvino",
        precision="fp16-weights" if is_half else manifest.precision,
        versions={**manifest.versions, **versions("openvino")},
    )
    bare = ModelProto()
    bare.CopyFrom(graph)
    del bare.metadata_props[:]
    network = ov.convert_model(io.BytesIO(bare.SerializeToString()))
    network.set_rt_info(_labels(manifest.class_names), ["model_info", "labels"])
    for key, text in plain_metadata(manifest).items():
        network.set_rt_info(_printable(text), ["model_info", key])

    def write(partial: Path, partial_weights: Path, manifest_json: str) -> None:
        network.set_rt_info(manifest_json, METADATA_KEY)
        description, weights = _saved(network, half=half)
        partial.write_bytes(description)
        partial_weights.write_bytes(weights)

    return write_pair(out, manifest, write)


def _saved(network: Any, *, half: bool) -> tuple[bytes, bytes]:
    """The bytes of NAME.xml and NAME.bin, whole.

    Raises:
        ArtifactError: the folder of temporary files is full, which OpenVINO tells as an error of
            its own, or where the last kilobytes are missing not at all.
    """
    with temporary_folder() as folder:
        xml = folder / "network.xml"
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            ov.save_model(network, xml, compress_to_fp16=half)
        except RuntimeError as error:
            if "iostream" not in str(error):
                raise
            raise full from error
        description, weights = bytes_of(xml), bytes_of(xml.with_suffix(".bin"))
        ends = (int(begin) + int(size) for begin, size in EXTENT.findall(description))
        if not description.rstrip().endswith(b"</net>") or len(weights) < max(ends, default=0):
            raise full
        return description, weights


def _labels(class_names: tuple[str, ...]) -> str:
    """One word for each class, with a question mark for what XML cannot hold."""
    words = ("_".join(name.split()) for name in class_names)
    return " ".join(map(_printable, words))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
