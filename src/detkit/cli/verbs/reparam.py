"""`detkit reparam`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli import console
from detkit.cli.conversion_output import emit_conversion, output_path
from detkit.cli.options import ComparisonData, Force, Json, Out, Quiet, Verbose

EXAMPLES = {
    "reparam": (
        "detkit reparam runs/a/best.safetensors",
        "detkit reparam best.safetensors --data coco/ -o fused.safetensors --json",
    ),
}


def reparam(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `detkit train` or `import`.")],
    data: ComparisonData = None,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fuse a checkpoint's branches for deployment; prints the path of the new file.

    Every block becomes one convolution. The largest difference of boxes and scores on real
    images is measured, printed and recorded. By default NAME.fused.safetensors is written.
    """
    console.setup(quiet, verbose)
    from detkit.reparam import fuse_checkpoint

    path = output_path(out, checkpoint, ".fused.safetensors", force=force, read=data)
    emit_conversion(fuse_checkpoint(checkpoint, path, data=data), json=json)
