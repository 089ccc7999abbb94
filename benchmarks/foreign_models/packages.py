"""The packages: what is installed for each, in an environment of its own, and its models.

Environments share one of torch, so that each costs little; `--no-deps` leaves out what a package
asks for but does not need to make a detector.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foreign_models import (
    of_damo,
    of_effdet,
    of_libreyolo,
    of_modern_yolonas,
    of_nanodet,
    of_paddledet,
    of_rfdetr,
    of_torchvision,
    of_transformers,
    of_ultralytics,
    of_yolov5,
    of_yolox,
)
from foreign_models.recipe import ForeignModel

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
SHARED = ("onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "opencv-python-headless")
TORCH = ("torch==2.13.0", "torchvision==0.28.0")


@dataclass(frozen=True)
class Package:
    """One package.

    Attributes:
        alone: requirements that are installed without what they ask for.
        needs: those installed as usual.
        first: what it is built with.
        source: the variable that names a checkout, of a package that is on no index.
    """

    name: str
    models: Sequence[ForeignModel]
    alone: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    source: str = ""

    def python(self, home: Path) -> str:
        """The interpreter of its environment."""
        return str(home / self.name / "bin" / "python")

    def environment(self, home: Path, here: Path) -> dict[str, str]:
        """The variables it is run with: offline, one thread, its settings in `home`."""
        settings = home / "settings"
        settings.mkdir(parents=True, exist_ok=True)
        return {
            **os.environ,
            "PYTHONPATH": str(here),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "YOLO_CONFIG_DIR": str(settings),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "MPLBACKEND": "agg",
        }

    def install(self, home: Path) -> int:
        """Makes its environment; returns pip's exit code, or 1 without the checkout it needs."""
        if self.source and self.source not in os.environ:
            print(f"{self.name}: ${self.source} names no checkout", file=sys.stderr)
            return 1
        torch, place = home / "torch", home / self.name
        steps: list[tuple[Path, Sequence[str]]] = []
        if not torch.exists():
            _make(torch)
            steps += [(torch, (*TORCH, "--extra-index-url", CPU_WHEELS)), (torch, SHARED)]
        if not place.exists():
            _make(place)
            _packages_of(place).joinpath("torch.pth").write_text(f"{_packages_of(torch)}\n")
        if self.first:
            steps.append((place, self.first))
        if self.alone:
            steps.append((place, ("--no-deps", *self.alone)))
        if self.source:
            checkout = ("--no-build-isolation", "--editable", os.environ[self.source])
            steps.append((place, ("--no-deps", *checkout)))
        if self.needs:
            steps.append((place, (*self.needs, "--constraint", _write_pins(home))))
        return next((code for where, what in steps if (code := _pip(where, what))), 0)


def _make(place: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", place], check=True)


def _pip(place: Path, what: Sequence[str]) -> int:
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *what]
    return subprocess.run(command, check=False).returncode


def _packages_of(place: Path) -> Path:
    (found,) = place.glob("lib/python*/site-packages")
    return found


def _write_pins(home: Path) -> str:
    path = home / "pins.txt"
    path.write_text("\n".join(TORCH) + "\n", encoding="utf-8")
    return str(path)


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "damo",
            of_damo.MODELS,
            needs=("easydict", "loguru", "scikit-image", "tabulate", "thop", "timm", "tqdm"),
            first=("wheel", "setuptools<81"),
            source="DAMO_YOLO",
        ),
        Package("effdet", of_effdet.MODELS, needs=("effdet", "omegaconf", "pycocotools")),
        Package(
            "libreyolo",
            of_libreyolo.MODELS,
            alone=("libreyolo",),
            needs=(
                "pyyaml",
                "requests",
                "tqdm",
                "pycocotools",
                "typer",
                "click",
                "safetensors",
                "scipy",
                "cloudpickle",
                "mss",
            ),
        ),
        Package(
            "modern-yolonas",
            of_modern_yolonas.MODELS,
            alone=("modern-yolonas",),
            needs=("scipy", "rich", "safetensors", "supervision", "huggingface-hub", "typer"),
        ),
        Package(
            "nanodet",
            of_nanodet.MODELS,
            needs=(
                "pytorch-lightning",
                "matplotlib",
                "tabulate",
                "termcolor",
                "yacs",
                "pycocotools",
            ),
            first=("wheel", "setuptools<81"),
            source="NANODET",
        ),
        Package(
            "paddledet",
            of_paddledet.MODELS,
            needs=(
                "paddlepaddle==3.0.0",  # the newest that Paddle2ONNX reads
                "paddle2onnx==2.1.0",
                "onnx-graphsurgeon",  # which is else installed while it exports
                "imgaug",
                "lapx",
                "matplotlib",
                "motmetrics",
                "numpy<2",  # imgaug
                "opencv-python-headless<4.12",
                "pyclipper",
                "pycocotools",
                "pyyaml",
                "requests",
                "scikit-learn",
                "scipy",
                "shapely",
                "terminaltables",
                "tqdm",
                "typeguard",
                "visualdl",
            ),
            first=("wheel", "setuptools<81"),
            source="PADDLEDET",
        ),
        Package(
            "yolov5",
            of_yolov5.MODELS,
            alone=("yolov5",),
            needs=(
                "setuptools<81",  # it imports pkg_resources
                "matplotlib",
                "pandas",
                "psutil",
                "pyyaml",
                "requests",
                "scipy",
                "seaborn",
                "thop",
                "tqdm",
            ),
        ),
        Package(
            "yolox",
            of_yolox.MODELS,
            alone=("--no-build-isolation", "yolox"),
            needs=("loguru", "tabulate", "psutil", "tqdm", "pycocotools"),
            first=("wheel", "setuptools<81"),
        ),
        Package("rfdetr", of_rfdetr.MODELS, needs=("rfdetr", "scipy")),
        Package("torchvision", of_torchvision.MODELS),
        Package("transformers", of_transformers.MODELS, needs=("transformers", "timm", "scipy")),
        Package(
            "ultralytics",
            of_ultralytics.MODELS,
            alone=("ultralytics", "ultralytics-thop"),
            needs=("matplotlib", "polars", "psutil", "pyyaml", "requests", "scipy"),
        ),
    )
}
