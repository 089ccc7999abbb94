"""`detkit import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli import console
from detkit.cli.conversion_output import emit_conversion, output_path
from detkit.cli.options import Force, Json, Out, Quiet, Verbose

EXAMPLES = {
    "import": (
        "detkit import yolo_nas_s_coco.pth -o yolo_nas_s.safetensors",
        "detkit import yolox_s.pth",
        "detkit import ckpt_best.pth --licence Apache-2.0 --json",
    ),
}

LicenceFlag = Annotated[
    str,
    typer.Option(
        "--licence",
        metavar="TEXT",
        help="Licence of the weights if yours: SPDX identifier or text. (default: as published)",
    ),
]


def import_(
    file: Annotated[
        Path, typer.Argument(help="A .pth file of YOLO-NAS or YOLOX, or YOLOX's .onnx.")
    ],
    licence: LicenceFlag = "",
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a YOLO-NAS or YOLOX file into a detkit checkpoint; prints its path.

    Nothing in the file is executed. The EMA weights are taken where there are any, class names and
    preprocessing come along, and BGR or 0..255 input is folded into the stem. The published weights
    of YOLOX are under Apache-2.0, those of YOLO-NAS for non-commercial use only, which the
    checkpoint and all made from it say; --licence states that of weights you trained from scratch.
    """
    console.setup(quiet, verbose)
    from detkit.importing.run import import_checkpoint

    path = output_path(out, file, ".safetensors", force=force)
    emit_conversion(import_checkpoint(file, path, licence=licence), json=json)
