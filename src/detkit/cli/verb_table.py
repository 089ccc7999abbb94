"""The verb table: one file and one line here make a verb."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb: its function as "module:function", imported when it is called, and its help.

    `shared` says whether processes that torchrun launches do it together.
    """

    target: str
    help: str
    shared: bool = False


VERBS = {
    "train": Verb(
        "detkit.cli.verbs.train:train", "Train a detector on a COCO folder.", shared=True
    ),
    "eval": Verb(
        "detkit.cli.verbs.eval:eval_",
        "Score a model on a COCO folder: the 12 figures, per class, gates.",
    ),
    "reparam": Verb(
        "detkit.cli.verbs.reparam:reparam", "Fuse a checkpoint's branches for deployment."
    ),
    "quantize": Verb(
        "detkit.cli.verbs.quantize:quantize",
        "Make a checkpoint INT8, its loss of AP measured.",
        shared=True,
    ),
    "export": Verb(
        "detkit.cli.verbs.export:export",
        "Write a checkpoint as ONNX, OpenVINO or engine, compared with it.",
    ),
    "bench": Verb(
        "detkit.cli.verbs.bench.bench:bench",
        "Time models here, interleaved; compare with a baseline.",
    ),
    "compare": Verb(
        "detkit.cli.verbs.compare:compare", "Set architectures side by side, untrained."
    ),
    "advise": Verb(
        "detkit.cli.verbs.advise:advise",
        "Say in which precision, on which engine, to ship a checkpoint.",
    ),
    "profile": Verb(
        "detkit.cli.verbs.profile:profile",
        "Measure a search space on this device, for searches elsewhere.",
    ),
    "search": Verb(
        "detkit.cli.verbs.search:search", "Search architectures for this machine.", shared=True
    ),
    "predict": Verb("detkit.cli.verbs.predict:predict", "Draw a model's boxes on images."),
    "import": Verb(
        "detkit.cli.verbs.import_:import_",
        "Turn a YOLO-NAS or YOLOX file into a detkit checkpoint.",
    ),
    "data check": Verb("detkit.cli.verbs.data.folders:check", "List every fault of a COCO folder."),
    "data convert": Verb(
        "detkit.cli.verbs.data.folders:convert", "Make a COCO folder of VOC, YOLO or COCO labels."
    ),
    "data label": Verb(
        "detkit.cli.verbs.data.label:label", "Make a COCO folder of the boxes a model finds."
    ),
    "data synth": Verb(
        "detkit.cli.verbs.data.folders:synth", "Draw a small COCO folder to try things on."
    ),
    "info": Verb(
        "detkit.cli.verbs.info:info", "Say what a file is: its architecture, parents, figures."
    ),
    "checks": Verb("detkit.cli.verbs.checks:checks", "Say what this installation can do here."),
    "report": Verb("detkit.cli.verbs.report:report", "Make one HTML page of a run folder."),
}
