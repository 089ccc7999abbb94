"""examples/serve/triton_repository.py: its configs by Triton's own schema, against the files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import openvino
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from detkit.engines.exporting import ExportOptions
from detkit.engines.onnxruntime.export import export as export_onnx
from detkit.engines.openvino.export import export as export_openvino

SCRIPT = Path(__file__).parents[2] / "examples" / "serve" / "triton_repository.py"
TYPES = {  # of ONNX Runtime: of Triton
    "tensor(float)": "TYPE_FP32",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int64)": "TYPE_INT64",
}


def written(*args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def read_config(folder: Path) -> Any:
    return text_format.Parse(
        (folder / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig()
    )


def as_triton_sees(infos: Any, *, batched: bool) -> list[tuple[str, str, list[int]]]:
    """Name, type and shape of ONNX Runtime's tensors, as a config has to state them."""
    rows = []
    for info in infos:
        shape = [size if isinstance(size, int) else -1 for size in info.shape]
        assert not batched or shape[0] == -1
        rows.append((info.name, TYPES[info.type], shape[1:] if batched else shape))
    return rows


def stated(infos: Any) -> list[tuple[str, str, list[int]]]:
    types = model_config_pb2.DataType
    return [(info.name, types.Name(info.data_type), list(info.dims)) for info in infos]


@pytest.mark.parametrize(
    ("options", "max_batch", "batched"),
    [
        (ExportOptions(), "8", True),
        (ExportOptions(), "0", False),
        (ExportOptions(uint8=True, nms="batched"), "4", True),
        (ExportOptions(nms="flat"), "8", False),
    ],
)
def test_the_config_states_what_the_file_has(
    settled: Callable[..., Path],
    tmp_path: Path,
    options: ExportOptions,
    max_batch: str,
    batched: bool,
) -> None:
    model, repository = tmp_path / "m.onnx", tmp_path / "models"
    export_onnx(settled(), model, options)
    written(model, repository, "--name", "cells", "--max-batch", max_batch)
    config = read_config(repository / "cells")
    served = repository / "cells" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(served, providers=["CPUExecutionProvider"])
    assert (config.name, config.backend) == ("cells", "onnxruntime")
    assert config.max_batch_size == (int(max_batch) if batched else 0)
    assert stated(config.input) == as_triton_sees(session.get_inputs(), batched=batched)
    assert stated(config.output) == as_triton_sees(session.get_outputs(), batched=batched)
    assert config.HasField("dynamic_batching") == batched
    metadata = session.get_modelmeta().custom_metadata_map
    for key in ("names", "imgsz", "stride", "task"):
        assert config.parameters[key].string_value == metadata[key]


def test_a_second_file_becomes_the_next_version(
    settled: Callable[..., Path], tmp_path: Path
) -> None:
    model, folder = tmp_path / "m.onnx", tmp_path / "models" / "m"
    export_onnx(settled(), model, ExportOptions())
    assert written(model, folder.parent).stdout.strip() == str(folder / "1")
    assert written(model, folder.parent).stdout.strip() == str(folder / "2")
    assert {path.name for path in folder.iterdir()} == {"1", "2", "config.pbtxt"}
    digests = {
        hashlib.sha256((folder / version / "model.onnx").read_bytes()).hexdigest()
        for version in "12"
    }
    assert digests == {hashlib.sha256(model.read_bytes()).hexdigest()}


def test_both_files_of_openvino_are_served(settled: Callable[..., Path], tmp_path: Path) -> None:
    model, folder = tmp_path / "m.xml", tmp_path / "models" / "m"
    export_openvino(settled(), model, ExportOptions())
    written(model, folder.parent)
    config = read_config(folder)
    assert config.backend == "openvino"
    served = openvino.Core().read_model(folder / "1" / "model.xml")
    assert [info.name for info in config.input] == [i.get_any_name() for i in served.inputs]
    assert [info.name for info in config.output] == [o.get_any_name() for o in served.outputs]
    assert [list(info.dims) for info in config.output] == [
        [size.get_length() for size in list(output.partial_shape)[1:]] for output in served.outputs
    ]


@pytest.mark.parametrize(("name", "message"), [("m.txt", "expected one of .onnx"), ("m.onnx", "m")])
def test_what_cannot_be_served_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    done = written(tmp_path / name, tmp_path / "models", code=1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not (tmp_path / "models").exists()
