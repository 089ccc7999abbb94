"""Networks with inherited weights: cut out of a trained supernet, ready for any verb.

Every network gets batch-norm statistics of its own, see `search.scoring.recalibrate`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from detkit.artifact.artifact import Parent, parent_of
from detkit.config import SearchConfig
from detkit.core.boxes import EVAL_NMS
from detkit.core.errors import UsageError
from detkit.data.coco.folder import require_boxes
from detkit.engines.torch.session import find_device
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic, require_elastic
from detkit.search.scoring.recalibrate import plain_batches, recalibrate
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.space import SearchSpace
from detkit.train.setup import TrainSetup, open_splits
from detkit.train.validation import open_fused


class SupernetWeights:
    """A trained supernet, and the data that its subnets are scored on."""

    def __init__(self, config: SearchConfig, path: Path) -> None:
        """Opens `path`, the checkpoint of the largest network."""
        self.config, self.path = config, path
        supernet, self.manifest = load_checkpoint(path)
        self.device = find_device(config.train.device)
        self.elastic = Elastic(supernet.eval())
        self.folder = open_splits(dataclasses.replace(config.train, data=config.data))
        require_boxes(self.folder.splits["val"].records, f"'val' of {config.data}")

    def check(self, space: SearchSpace) -> None:
        """Raises UsageError where the weights are not for this space and these images."""
        require_elastic(space)
        wanted, known = self.folder.splits["train"].class_names, self.manifest.class_names
        if wanted != known:
            raise UsageError(f"{self.path} knows {', '.join(known)}; the data, {', '.join(wanted)}")
        if self.config.searcher == "gradient":
            raise UsageError(
                "the searcher gradient learns from images that the supernet has not seen",
                hint="let it train its own: leave out supernet.trained",
            )
        try:
            self.elastic.subnet_tensors(space.largest_arch())
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", hint="search the space it is for") from error

    def network(self, spec: ArchSpec) -> Detector:
        """A subnet with batch-norm statistics of its own, on the CPU."""
        model = self.elastic.extract(spec).to(self.device)
        records = self.folder.splits["train"].records
        count, batch = self.config.supernet.recalibration_batches, self.config.train.batch
        recalibrate(model, plain_batches(records, spec.image_size, count=count, batch=batch))
        return model.cpu()

    def ap(self, model: Detector) -> float:
        """Scores a network by AP on the validation split."""
        val = self.folder.splits["val"]
        size = model.spec.image_size
        manifest = dataclasses.replace(
            self.manifest, arch=model.spec, preprocess=Preprocess.filling(size)
        )
        session = open_fused(model, manifest, str(self.device))
        batch = self.config.train.batch
        found = detect(session, val.records, batch_size=batch, nms=EVAL_NMS)
        ap = coco_figures(val.records, val.class_names, found).ap
        assert ap is not None  # there are boxes
        return ap

    def save(self, model: Detector, path: Path, ap: float) -> None:
        """Writes an ordinary checkpoint, whose parent is the supernet."""
        settings = dataclasses.replace(self.config.train, data=self.config.data)
        save_checkpoint(path, model, self._setup(model).manifest(settings, {"ap": ap}))

    def _setup(self, model: Detector) -> TrainSetup:
        size = model.spec.image_size
        return TrainSetup(
            folder=self.folder,
            train=self.folder.splits["train"],
            val=self.folder.splits["val"],
            model=model,
            preprocess=Preprocess.filling(size),
            parents=(self._parent,),
            notes=(),
            origin=self.manifest.origin,
            class_scope=self.manifest.class_scope,
        )

    @functools.cached_property
    def _parent(self) -> Parent:
        return parent_of(self.path)
