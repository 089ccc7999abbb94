"""An engine and its sidecar: both or neither, and only where they fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from detkit.artifact.artifact import Manifest, Parent, read_manifest
from detkit.core.errors import ArtifactError, BackendError
from detkit.engines.tensorrt.build_machine import RTX, Machine
from detkit.engines.tensorrt.engine_file import (
    EngineSidecar,
    check_fits,
    read_sidecar,
    write_engine,
)
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO

ORIN = Machine(
    gpu="Orin", compute_capability="8.7", driver="12.6", library="tensorrt", version="10.3.0"
)


def record(machine: Machine = ORIN) -> EngineSidecar:
    manifest = Manifest(
        kind=machine.library,
        arch=ZOO["yolo-nas-p"],
        form="deployed",
        precision="fp16",
        class_names=tuple(map(str, range(80))),
        preprocess=Preprocess(size=(640, 640), fit=(640, 640)),
        parents=(Parent(name="best.safetensors", sha256="0" * 64),),
    )
    return EngineSidecar(
        manifest=manifest, machine=machine, batches=(1, 1, 8), graph_sha256="1" * 64
    )


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "m.engine"
    write_engine(path, b"not really an engine", record())
    return path


def test_both_files_come_back_as_written(engine: Path) -> None:
    manifest = read_manifest(engine)
    assert manifest.precision == "fp16"
    found = read_sidecar(engine)
    assert found.manifest == manifest
    assert found.machine == ORIN
    assert sorted(path.name for path in engine.parent.iterdir()) == ["m.engine", "m.engine.json"]


def test_a_flipped_bit_of_the_engine_is_refused(engine: Path) -> None:
    engine.write_bytes(b"Not really an engine")
    with pytest.raises(ArtifactError, match="does not match its digest"):
        read_manifest(engine)


def test_a_changed_sidecar_is_refused(engine: Path) -> None:
    sidecar = engine.with_name("m.engine.json")
    plain = json.loads(sidecar.read_text())
    plain["machine"]["gpu"] = "another"
    sidecar.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="json is damaged"):
        read_sidecar(engine)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"manifest": 3}', "\xff"])
def test_a_sidecar_that_is_none_is_refused(engine: Path, text: str) -> None:
    engine.with_name("m.engine.json").write_text(text, encoding="latin-1")
    for read in (read_manifest, read_sidecar):
        with pytest.raises(ArtifactError):
            read(engine)


def test_an_engine_alone_is_refused(engine: Path) -> None:
    engine.with_name("m.engine.json").unlink()
    with pytest.raises(ArtifactError, match=r"has no m\.engine\.json beside it") as raised:
        read_manifest(engine)
    assert raised.value.hint == "copy both files together"


def test_an_engine_fits_where_it_was_built(engine: Path) -> None:
    check_fits(engine, record(), ORIN)
    check_fits(engine, record(), dataclasses.replace(ORIN, driver="13.0"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "10.16.2"}, "tensorrt 10.3.0, not 10.16.2 as here"),
        ({"gpu": "Thor"}, "GPU Orin, not Thor as here"),
        ({"compute_capability": "11.0"}, "compute capability 8.7, not 11.0 as here"),
        ({"library": RTX}, "library tensorrt, not tensorrt-rtx as here"),
        (
            {"gpu": "Thor", "version": "10.16.2"},
            "tensorrt 10.3.0, not 10.16.2; GPU Orin, not Thor as here",
        ),
    ],
)
def test_elsewhere_it_says_what_differs_and_how_to_build_it(
    engine: Path, change: dict[str, str], words: str
) -> None:
    with pytest.raises(BackendError, match=words) as raised:
        check_fits(engine, record(), dataclasses.replace(ORIN, **change))
    assert raised.value.hint == "build it here: detkit export --to tensorrt best.safetensors"


def test_an_engine_for_any_gpu_asks_for_the_version_only(engine: Path) -> None:
    anywhere = record(Machine(library=RTX, version="1.7"))
    check_fits(engine, anywhere, dataclasses.replace(ORIN, library=RTX, version="1.7"))
    with pytest.raises(BackendError, match=r"tensorrt-rtx 1\.7, not 1\.8 as here"):
        check_fits(engine, anywhere, dataclasses.replace(ORIN, library=RTX, version="1.8"))
