"""Shared weights on a COCO folder of a few synthetic images: training, inheritance, delivery."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detkit.artifact.artifact import read_manifest
from detkit.config import AugmentConfig, SearchConfig, SupernetConfig, TrainConfig
from detkit.core.errors import UsageError
from detkit.data.synthetic.synth import synthesize
from detkit.data.training.labels import certain
from detkit.nn.blocks import BN_MOMENTUM
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Cost, Detector
from detkit.nn.supernet.elastic import Elastic
from detkit.search.scoring.evaluators import SupernetEvaluator
from detkit.search.scoring.recalibrate import plain_batches, recalibrate
from detkit.search.scoring.sandwich import SandwichStep, distillation_loss, resized
from detkit.search.scoring.supernet import (
    held_out_part,
    is_trained,
    learning_part,
    supernet_setup,
    training_config,
)
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SPACES, SearchSpace
from detkit.spec.zoo import ZOO
from detkit.train.loop import Trainer
from detkit.train.loss import DetectionLoss
from detkit.train.stop import StopSignal
from fixtures.several_ranks import in_ranks
from fixtures.trainers import make_trainer

COST = Cost(parameters=1, macs=1)
SPACE = SearchSpace(
    name="few",
    base=ZOO["yolo-nas-p"],
    knobs={
        "stages.2.blocks": (1, 2),
        "neck.*.out": ((24, 16, 24, 32), (48, 32, 48, 64)),
        "image_size": ((32, 32), (64, 64)),
    },
).for_task(6, None)
SMALL = SPACE.to_arch(SPACE.smallest_point())


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 8, "val": 4}, size=64, seed=1)
    train = TrainConfig(
        batch=4,
        workers=0,
        threads=1,
        device="cpu",
        amp="off",
        augment=AugmentConfig(close_epochs=0),
    )
    return SearchConfig(
        data=str(folder),
        evaluator="supernet",
        supernet=SupernetConfig(epochs=2, largest_first=0, random_nets=1, recalibration_batches=2),
        train=train,
    )


@pytest.fixture(scope="module")
def trained(config: SearchConfig, tmp_path_factory: pytest.TempPathFactory) -> SupernetEvaluator:
    evaluator = SupernetEvaluator(config, tmp_path_factory.mktemp("study"), StopSignal())
    assert evaluator.prepare(SPACE, silent)
    return evaluator


# --- training ------------------------------------------------------------------------------------


def test_run_folder_holds_the_largest_network(trained: SupernetEvaluator) -> None:
    folder = trained.folder / "supernet"
    assert is_trained(trained.folder)
    model, manifest = load_checkpoint(folder / "last.safetensors")
    assert model.spec == SPACE.largest_arch()
    assert manifest.metrics["epoch"] == 2
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert "<svg" in (folder / "report.html").read_text()


def test_largest_network_is_scored_and_saved_with_statistics_of_its_own(
    trained: SupernetEvaluator,
) -> None:
    """Not with those that lag behind its weights and mix its image sizes."""
    model, manifest = load_checkpoint(trained.folder / "supernet" / "last.safetensors")
    again = copy.deepcopy(model)
    records = trained.weights.folder.splits["train"].records
    recalibrate(again, plain_batches(records, model.spec.image_size, count=2, batch=4))
    found = dict(again.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, found[name], rtol=1e-3, atol=1e-4)
    assert manifest.metrics["ap"] == trained.weights.ap(model)


def test_supernet_is_trained_once(trained: SupernetEvaluator) -> None:
    path = trained.folder / "supernet" / "last.safetensors"
    before = path.stat().st_mtime_ns
    assert trained.prepare(SPACE, silent)
    assert path.stat().st_mtime_ns == before


def test_training_cut_short_is_resumed_to_the_same_weights(
    config: SearchConfig, trained: SupernetEvaluator, tmp_path: Path
) -> None:
    stop = StopSignal()
    evaluator = SupernetEvaluator(config, tmp_path, stop)

    def stop_early(line: str) -> None:
        if "epoch 1/2" in line:
            stop.signal = 15

    assert not evaluator.prepare(SPACE, stop_early)
    assert not is_trained(tmp_path)
    assert SupernetEvaluator(config, tmp_path, StopSignal()).prepare(SPACE, silent)
    whole, _ = load_checkpoint(trained.folder / "supernet" / "last.safetensors")
    resumed, _ = load_checkpoint(tmp_path / "supernet" / "last.safetensors")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def sandwich_trainer(config: SearchConfig, out: Path, *, random_nets: int) -> Trainer:
    """One that shares weights from its first step on."""
    settings = training_config(config, SPACE)
    setup = supernet_setup(config, settings, SPACE)
    make_strategy = functools.partial(
        SandwichStep,
        space=SPACE.for_task(6, (64, 64)),
        settings=SupernetConfig(largest_first=0, random_nets=random_nets),
        records=setup.train.records,
    )
    return make_trainer(settings, out, setup, make_strategy=make_strategy, uses_all=False)


def test_gradient_of_a_step_is_the_sum_over_the_networks(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest by the boxes, each slice by the boxes and the largest; one assignment for all."""
    assigned: list[object] = []
    whole_assign = DetectionLoss.assign

    def assign(*args: Any) -> Any:
        assigned.append(args)
        return whole_assign(*args)

    monkeypatch.setattr(DetectionLoss, "assign", assign)
    trainer = sandwich_trainer(config, tmp_path, random_nets=0)
    twin = copy.deepcopy(trainer.model.train()).train()
    batch = next(iter(trainer.loader.epoch(0)))
    trainer.strategy.learn(batch.images_on(torch.device("cpu")), batch.labels, epoch=0, batch=0)
    assert len(assigned) == 1

    loss = DetectionLoss(trainer.config.loss, (64, 64))
    logits, distances = twin(batch.images_on(torch.device("cpu")))
    assignment = loss.assign(logits, distances, batch.labels)
    teacher = logits.detach(), distances.detach()
    total = loss.given(assignment, logits, distances).total
    logits, distances = Elastic(twin)(batch.images_on(torch.device("cpu")), SMALL)
    total = total + loss.given(assignment, logits, distances).total
    total = total + distillation_loss(assignment, logits, distances, teacher)
    total.backward()
    for name, parameter in twin.named_parameters():
        found = trainer.model.get_parameter(name).grad
        torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-4)


def test_two_processes_learn_the_sandwich_of_the_doubled_batch(
    config: SearchConfig, tmp_path: Path
) -> None:
    """The last pass leaves weights out; those of the passes before it count all the same."""

    def learnt() -> dict[str, Tensor]:
        trainer = sandwich_trainer(config, tmp_path, random_nets=1)
        trainer.model.train()
        batch = next(iter(trainer.loader.epoch(0)))
        trainer.strategy.learn(batch.images_on(trainer.device), batch.labels, epoch=0, batch=0)
        named = trainer.model.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}

    expected = learnt()
    whole = torch.cat([gradient.flatten() for gradient in expected.values()])
    for found in in_ranks(2, learnt):
        assert found.keys() == expected.keys()
        parts = torch.cat([found[name].flatten() for name in expected])
        assert (parts - whole).norm() < 0.02 * whole.norm()


def test_opinion_is_nothing_where_both_agree(config: SearchConfig) -> None:
    loss = DetectionLoss(config.train.loss, (32, 32))
    logits, distances = torch.randn(2, 21, 6), torch.randn(2, 21, 68)
    boxes = torch.tensor([[0, 1, 2, 2, 20, 20], [1, 3, 8, 8, 30, 30]], dtype=torch.float32)
    assignment = loss.assign(logits, distances, certain(boxes))
    same = distillation_loss(assignment, logits, distances, (logits, distances))
    other = distillation_loss(assignment, logits + 1, distances * 2, (logits, distances))
    assert abs(float(same)) < 1e-4
    assert float(other) > 0.1


def test_batch_is_resized_with_its_boxes() -> None:
    boxes = torch.tensor([[1, 2, 8.0, 4.0, 32.0, 16.0]])
    images, found = resized(torch.rand(2, 3, 64, 64), certain(boxes), (32, 96))
    assert images.shape == (2, 3, 32, 96)
    assert found.boxes.tolist() == [[1, 2, 12.0, 2.0, 48.0, 8.0]]


def test_warm_start_puts_the_checkpoint_in_its_place(
    config: SearchConfig, checkpoint: Path, tmp_path: Path
) -> None:
    parent, manifest = load_checkpoint(checkpoint)
    named = dataclasses.replace(manifest, class_names=("circle", "square", "c"))
    path = tmp_path / "init.safetensors"
    save_checkpoint(path, parent, named)
    space = SPACES["tiny"].for_task(6, (64, 64))
    warm = dataclasses.replace(
        config, supernet=dataclasses.replace(config.supernet, init=str(path))
    )
    setup = supernet_setup(warm, training_config(warm, space), space)
    inside = space.to_arch(space.zoo_points()["yolo-nas-p"])
    found = Elastic(setup.model).extract(inside).state_dict()
    for name, tensor in parent.state_dict().items():
        if ".cls_pred." not in name:
            assert torch.equal(found[name], tensor), name
    assert [item.name for item in setup.parents] == ["init.safetensors"]
    outside = SearchSpace(name="low", base=SMALL, knobs={"stem": (8,)})
    with pytest.raises(UsageError, match=r"init.safetensors: .* not within the supernet"):
        supernet_setup(warm, training_config(warm, outside), outside)


def test_space_of_other_blocks_is_refused_before_anything_is_made(
    config: SearchConfig, tmp_path: Path
) -> None:
    evaluator = SupernetEvaluator(config, tmp_path / "out", StopSignal())
    with pytest.raises(UsageError, match="cannot share weights across block, kernel"):
        evaluator.prepare(SPACES["full"].for_task(6, (64, 64)), silent)
    assert not (tmp_path / "out").exists()


def taking(
    config: SearchConfig, trained: SupernetEvaluator, searcher: str = "surrogate"
) -> SearchConfig:
    path = str(trained.folder / "supernet" / "last.safetensors")
    sharing = dataclasses.replace(config.supernet, trained=path)
    return dataclasses.replace(config, searcher=searcher, supernet=sharing)


def test_supernet_of_another_search_is_taken_as_it_is(
    config: SearchConfig, trained: SupernetEvaluator, tmp_path: Path
) -> None:
    other = SupernetEvaluator(taking(config, trained), tmp_path / "out", StopSignal())
    part = SearchSpace(name="part", base=SPACE.base, knobs={"stages.2.blocks": (1, 2)})
    assert other.prepare(part.for_task(6, (32, 32)), silent)
    assert other(SMALL, COST) == trained(SMALL, COST)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("space", "searcher", "message"),
    [
        (SPACES["tiny"], "surrogate", "last.safetensors: .* not within the supernet"),
        (SPACES["full"], "surrogate", "cannot share weights across block, kernel"),
        (SPACE, "gradient", "images that the supernet has not seen"),
    ],
)
def test_supernet_of_another_search_must_fit(
    config: SearchConfig,
    trained: SupernetEvaluator,
    tmp_path: Path,
    space: SearchSpace,
    searcher: str,
    message: str,
) -> None:
    other = SupernetEvaluator(taking(config, trained, searcher), tmp_path, StopSignal())
    with pytest.raises(UsageError, match=message):
        other.prepare(space.for_task(6, (64, 64)), silent)


def test_gradient_searcher_has_images_of_its_own(config: SearchConfig) -> None:
    settings = training_config(config, SPACE)
    train = supernet_setup(config, settings, SPACE).train
    half = learning_part(dataclasses.replace(config, searcher="gradient"), train)
    other = held_out_part(train)
    assert learning_part(config, train) == train
    assert {r.path for r in half.records}.isdisjoint(r.path for r in other.records)
    assert len(half.records) + len(other.records) == len(train.records)


# --- inheritance ---------------------------------------------------------------------------------


def test_recalibrated_statistics_are_the_mean_over_the_batches(trained: SupernetEvaluator) -> None:
    model = trained.weights.elastic.extract(SMALL)
    batches = [torch.rand(4, 3, 32, 32) for _ in range(3)]
    recalibrate(model, batches)
    branch = model.get_submodule("backbone.stem.conv.branch_3x3")
    norm = branch.get_submodule("bn")
    assert isinstance(norm, nn.BatchNorm2d)
    convolution = branch.get_submodule("conv")
    with torch.no_grad():
        inputs = [convolution(images) for images in batches]
    mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    var = torch.stack([x.var(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)
    assert (norm.momentum, model.training) == (BN_MOMENTUM, False)


def test_score_is_that_of_the_delivered_checkpoint(trained: SupernetEvaluator) -> None:
    score = trained(SMALL, COST)
    delivered = trained.deliver([SMALL])[SMALL.digest]
    assert (delivered.value, delivered.ap) == (score.value, score.ap)
    path = Path(delivered.checkpoint)
    assert path == trained.folder / "runs" / SMALL.digest / "best.safetensors"
    model, manifest = load_checkpoint(path)
    assert (model.spec, manifest.form) == (SMALL, "training")
    assert [parent.name for parent in manifest.parents] == ["last.safetensors"]
    assert trained.weights.ap(model) == score.ap
    before = path.stat().st_mtime_ns
    trained.deliver([SMALL])
    assert path.stat().st_mtime_ns == before


def test_network_that_gives_nan_fails_alone(
    trained: SupernetEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = trained.weights.network

    def broken(spec: ArchSpec) -> Detector:
        model = network(spec)
        model.get_parameter("heads.head1.cls_pred.bias").data.fill_(math.nan)
        return model

    monkeypatch.setattr(trained.weights, "network", broken)
    score = trained(SMALL, COST)
    assert (math.isnan(score.value), score.ap) == (True, None)
    assert "NaN or Inf" in score.failure


def test_fine_tuning_is_an_ordinary_run_from_the_inherited_weights(
    config: SearchConfig, trained: SupernetEvaluator
) -> None:
    tuning = dataclasses.replace(
        config, supernet=dataclasses.replace(config.supernet, fine_tune_epochs=1)
    )
    evaluator = SupernetEvaluator(tuning, trained.folder, StopSignal())
    spec = SPACE.to_arch({knob: values[-1] for knob, values in SPACE.knobs.items()})
    score = evaluator.deliver([spec])[spec.digest]
    run = trained.folder / "runs" / spec.digest
    inherited = run.with_suffix(".inherited.safetensors")
    tuned = read_manifest(run / "best.safetensors")
    assert [parent.name for parent in tuned.parents] == [inherited.name]
    both = {str(p): read_manifest(p).metrics["ap"] for p in (inherited, run / "best.safetensors")}
    assert score.value == max(both.values()) == both[score.checkpoint]


def test_supernet_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="supernet needs a COCO folder"):
        SupernetEvaluator(SearchConfig(evaluator="supernet"), tmp_path, StopSignal())
