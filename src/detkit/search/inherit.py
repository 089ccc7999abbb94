"""Networks with inherited weights: cut out of a trained supernet, ready for any verb.

The batch-norm statistics of the supernet are those of its largest network. Every other network
gets its own, from training pictures as evaluation sees them, before it is scored or saved.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from detkit.artifact import Parent, parent_of
from detkit.boxes import EVAL_NMS
from detkit.config import SearchConfig
from detkit.errors import UsageError
from detkit.evaluate import coco_figures, detect
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Detector
from detkit.nn.elastic import Elastic, require_elastic
from detkit.quantize.calibrate import load_pictures, spread
from detkit.runtime.torch import find_device
from detkit.search.supernet import FOLDER, WEIGHTS
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.space import SearchSpace
from detkit.train.job import Job, open_splits
from detkit.train.loop import open_fused


class Inheritance:
    """The supernet trained in a study's folder, or another's, and the data it is scored on."""

    def __init__(self, config: SearchConfig, out: Path) -> None:
        self.config = config
        trained = config.supernet.trained
        self.path = Path(trained) if trained else out / FOLDER / WEIGHTS
        whole, self.manifest = load_checkpoint(self.path)
        self.device = find_device(config.train.device)
        self.elastic = Elastic(whole.eval())
        self.folder = open_splits(dataclasses.replace(config.train, data=config.data))

    def check(self, space: SearchSpace) -> None:
        """Raises UsageError where the weights are not for this space and these pictures."""
        require_elastic(space)
        wanted, known = self.folder.splits["train"].class_names, self.manifest.class_names
        if wanted != known:
            raise UsageError(f"{self.path} knows {', '.join(known)}; the data, {', '.join(wanted)}")
        if self.config.searcher == "gradient":
            raise UsageError(
                "the searcher gradient learns from pictures that the supernet has not seen",
                hint="let it train its own: leave out supernet.trained",
            )
        try:
            self.elastic.slices(space.largest_arch())
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", hint="search the space it is for") from error

    def network(self, spec: ArchSpec) -> Detector:
        """The network with its slices and its own batch-norm statistics, on the CPU."""
        model = self.elastic.extract(spec).to(self.device)
        recalibrate(model, self._pictures(spec.image_size))
        return model.cpu()

    def ap(self, model: Detector) -> float:
        """AP on the validation split."""
        val = self.folder.splits["val"]
        size = model.spec.image_size
        manifest = dataclasses.replace(
            self.manifest, arch=model.spec, preprocess=Preprocess(size=size, fit=size)
        )
        session = open_fused(model, manifest, str(self.device))
        batch = self.config.train.batch
        found = detect(session, val.records, batch_size=batch, nms=EVAL_NMS)
        return coco_figures(val.records, val.class_names, found).ap or 0.0

    def save(self, model: Detector, path: Path, ap: float) -> None:
        """Writes an ordinary checkpoint, whose parent is the supernet."""
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = dataclasses.replace(self.config.train, data=self.config.data)
        save_checkpoint(path, model, self._job(model).manifest(settings, {"ap": ap}))

    def _job(self, model: Detector) -> Job:
        size = model.spec.image_size
        return Job(
            folder=self.folder,
            train=self.folder.splits["train"],
            val=self.folder.splits["val"],
            model=model,
            preprocess=Preprocess(size=size, fit=size),
            parents=(self._parent,),
            notes=(),
        )

    @functools.cached_property
    def _parent(self) -> Parent:
        return parent_of(self.path)

    def _pictures(self, size: tuple[int, int]) -> Iterator[Tensor]:
        """Batches of training pictures as evaluation sees them, evenly spread over the split."""
        batch = self.config.train.batch
        count = self.config.supernet.recalibration_batches * batch
        records = spread(self.folder.splits["train"].records, count)
        for images in load_pictures(records, Preprocess(size=size, fit=size), batch):
            yield torch.from_numpy(images).to(self.device)


@torch.no_grad()
def recalibrate(model: Detector, batches: Iterable[Tensor]) -> None:
    """Gives every batch-norm the mean statistics of its inputs over the batches; ends in eval."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
    model.train()
    for images in batches:
        model(images)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
