"""super-gradients checkpoints: layouts, inputs, names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detkit.artifact.artifact import read_manifest
from detkit.core.errors import ArtifactError, UsageError
from detkit.importing import yolo_nas
from detkit.importing.imported import CLASS_PREDICTOR
from detkit.importing.pickle_machine import InertObject
from detkit.importing.run import import_checkpoint, read_weights
from detkit.importing.unpickle import read_checkpoint
from detkit.importing.yolo_nas import parse_yolo_nas
from detkit.nn.checkpoint import load_checkpoint, new_detector
from detkit.nn.decode import Predictor
from detkit.spec.zoo import ZOO, with_task

LAYOUTS = {
    "plain": "state dict",
    "published": "net",
    "dataparallel": "net",
    "trainer": "ema_net",
    "trainer_numpy": "ema_net",
    "trainer_hydra": "ema_net",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_weights(make_pth: Callable[[str], Path], layout: str) -> None:
    reference = parse_yolo_nas(read_checkpoint(make_pth("plain"))).tensors
    found = parse_yolo_nas(read_checkpoint(make_pth(layout)))
    assert found.notes["weights"] == LAYOUTS[layout]
    assert found.notes["ignored_placeholders"] == "74"
    assert found.spec == ZOO["yolo-nas-s"]
    assert (found.preprocess.size, found.preprocess.fit) == ((640, 640), (636, 636))
    assert found.class_names[0] == ("class00" if layout.startswith("trainer") else "person")
    assert reference.keys() == found.tensors.keys()
    assert all(torch.equal(reference[name], found.tensors[name]) for name in reference)


def test_import_writes_a_checkpoint_that_says_where_it_came_from(
    make_pth: Callable[[str], Path], tmp_path: Path
) -> None:
    source = make_pth("trainer_numpy")
    report = import_checkpoint(source, tmp_path / "s.safetensors")
    manifest = read_manifest(tmp_path / "s.safetensors")
    assert report.parameters == 12_175_888
    assert manifest.parents[0].name == source.name
    assert manifest.class_names[79] == "class79"
    model, _ = load_checkpoint(tmp_path / "s.safetensors")
    assert len(model.state_dict()) == 847


def checkpoint(steps: list[Any]) -> tuple[dict[str, Any], torch.nn.Module]:
    """A small trained-like checkpoint with this processing chain, and its network."""
    model = new_detector(with_task(ZOO["yolo-nas-p"], 2, (64, 64)), 0).eval()
    params = {
        "class_names": ["x", "y"],
        "image_processor": {"ComposeProcessing": {"processings": steps}},
    }
    return {"net": model.state_dict(), "processing_params": params}, model


FINE_TUNED: list[Any] = [
    {"ReverseImageChannels": {}},
    {"DetectionLongestMaxSizeRescale": {"output_shape": (64, 64)}},
    {"DetectionBottomRightPadding": {"output_shape": (64, 64), "pad_value": 114}},
    {"ImagePermute": {"permutation": (2, 0, 1)}},
]


def test_bgr_and_unscaled_input_is_folded_into_the_stem() -> None:
    saved, network = checkpoint(FINE_TUNED)
    found = parse_yolo_nas(saved)
    assert found.preprocess.pad_place == "corner"
    assert found.notes["folded_into_stem"] == "BGR order and 0..255 scale"
    rgb = torch.rand(1, 3, 64, 64)
    bgr_255 = rgb.flip(1) * 255
    with torch.no_grad():
        wanted = network(bgr_255)
        network.load_state_dict(found.tensors)
        got = network(rgb)
    for a, b in zip(wanted, got, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_class_names_survive_an_omegaconf_list() -> None:
    saved, _ = checkpoint(FINE_TUNED)
    nodes = [
        InertObject("omegaconf.nodes.AnyNode", state={"_val": name}) for name in ("cat", "dog")
    ]
    names = InertObject("omegaconf.listconfig.ListConfig", state={"_content": nodes})
    saved["processing_params"]["class_names"] = names
    assert parse_yolo_nas(saved).class_names == ("cat", "dog")


def test_an_unknown_processing_step_is_refused() -> None:
    saved, _ = checkpoint([{"NormalizeImage": {"mean": [1], "std": [2]}}])
    with pytest.raises(ArtifactError, match="NormalizeImage is not supported"):
        parse_yolo_nas(saved)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"DetectionLongestMaxSizeRescale": {}}, "no output_shape of two numbers"),
        ({"DetectionLongestMaxSizeRescale": {"output_shape": "64"}}, "no output_shape"),
        ({"DetectionCenterPadding": {"output_shape": (64, 64)}}, "no number pad_value"),
        ({"DetectionCenterPadding": {"output_shape": (64, 64), "pad_value": 1e999}}, "pad_value"),
        ({"StandardizeImage": {"max_value": None}}, "no number max_value"),
        ({"DetectionCenterPadding": {"output_shape": (8, 8), "pad_value": 0}}, "does not lie"),
        ({1: 2}, "not understood"),
        ([], "not understood"),
    ],
)
def test_options_that_are_missing_or_odd_are_named(step: Any, message: str) -> None:
    with pytest.raises((ArtifactError, UsageError), match=message):
        yolo_nas._read_input({"image_processor": {"ComposeProcessing": {"processings": [step]}}})


@pytest.mark.parametrize("chain", [3, {"ComposeProcessing": 3}, {"processings": "no list"}])
def test_a_chain_of_another_kind_counts_as_none_or_is_refused(chain: Any) -> None:
    if chain == 3:
        assert yolo_nas._read_input({"image_processor": chain}).preprocess.size == (640, 640)
        return
    with pytest.raises(ArtifactError, match="no list of steps"):
        yolo_nas._read_input({"image_processor": chain})


def test_a_fault_names_the_file(tmp_path: Path) -> None:
    torch.save({"net": {CLASS_PREDICTOR: torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match=r"x\.pth: "):
        read_weights(tmp_path / "x.pth")
    torch.save({"net": {"w": torch.ones(1)}}, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match=r"x\.pth holds no weights"):
        read_weights(tmp_path / "x.pth")


def test_names_that_are_nested_without_end_are_not_followed() -> None:
    names: list[Any] = []
    for _ in range(2000):
        names = [names, names]
    found, _ = yolo_nas._class_names({"class_names": names}, 2)
    assert found == ("class0", "class1")


def test_weights_of_another_type_and_shared_ones_become_a_networks_own(tmp_path: Path) -> None:
    saved, network = checkpoint(FINE_TUNED)
    flat = torch.cat([t.flatten() for t in saved["net"].values() if t.is_floating_point()]).half()
    at = 0
    for name, tensor in saved["net"].items():
        if tensor.is_floating_point():
            saved["net"][name] = flat[at : at + tensor.numel()].view(tensor.shape)
            at += tensor.numel()
    torch.save(saved, tmp_path / "half.pth")
    import_checkpoint(tmp_path / "half.pth", tmp_path / "half.safetensors")
    model, _ = load_checkpoint(tmp_path / "half.safetensors")
    bias = "heads.head1.cls_pred.bias"
    assert torch.equal(model.get_parameter(bias), network.get_parameter(bias).half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda t: t.long(), "is of type torch.int64"), (lambda t: t * torch.nan, "holds NaN")],
)
def test_weights_that_are_no_finite_floats_are_refused(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    saved, _ = checkpoint(FINE_TUNED)
    name = "heads.head1.cls_pred.bias"
    saved["net"][name] = change(saved["net"][name])
    torch.save(saved, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match=message):
        import_checkpoint(tmp_path / "x.pth", tmp_path / "x.safetensors")


def test_already_fused_blocks_are_refused() -> None:
    saved, _ = checkpoint(FINE_TUNED)
    net = {n: t for n, t in saved["net"].items() if ".branch_" not in n}
    net["backbone.stem.conv.rbr_reparam.weight"] = torch.zeros(16, 3, 3, 3)
    with pytest.raises(ArtifactError, match="already fused"):
        parse_yolo_nas({"net": net})


def test_another_network_is_refused() -> None:
    saved, _ = checkpoint(FINE_TUNED)
    del saved["net"]["backbone.stage1.blocks.bottlenecks.0.alpha"]
    with pytest.raises(ArtifactError, match="are not those of yolo-nas-p"):
        parse_yolo_nas(saved)
    with pytest.raises(ArtifactError, match="no YOLO-NAS weights"):
        parse_yolo_nas({"net": {"w": torch.ones(1)}})


def test_the_verb_prints_one_path(make_pth: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    script = "import sys; from detkit.cli.app import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "import", str(make_pth("published")), "-o", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert "12.18 M parameters" in done.stderr


def test_predictions_of_an_imported_network_need_no_original_code(tmp_path: Path) -> None:
    saved, network = checkpoint(FINE_TUNED)
    torch.save(saved, tmp_path / "p.pth")
    import_checkpoint(tmp_path / "p.pth", tmp_path / "p.safetensors")
    model, _ = load_checkpoint(tmp_path / "p.safetensors")
    rgb = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        boxes, _ = Predictor(model.eval(), (64, 64))(rgb)
        wanted, _ = Predictor(network, (64, 64))(rgb.flip(1) * 255)  # type: ignore[arg-type]
    assert torch.allclose(boxes, wanted, atol=1e-2)
