"""Writes an exported file as a model of a repository that NVIDIA Triton serves. Takes no time.

    python examples/serve/triton_repository.py best.onnx models --name cells --max-batch 8
    tritonserver --model-repository models

models/cells then holds config.pbtxt and 1/model.onnx (2/ where 1/ is there: Triton serves the
newest). It may be an ONNX file, an OpenVINO .xml with its .bin, or a TensorRT .engine. Inputs and
outputs are those that the file itself states; `names`, `imgsz` and `stride` are parameters of the
config. Clients letterbox and scale images as `examples/plain_onnxruntime.py` does; with `export
--uint8 --nms batched` nothing but the letterbox is left to them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import detkit
from detkit.artifact.artifact import Manifest, TensorInfo, files_of
from detkit.artifact.plain_metadata import plain_metadata

BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino", ".engine": "tensorrt"}
FILE_NAMES = {".onnx": "model.onnx", ".xml": "model.xml", ".bin": "model.bin"}
ENGINE_NAME = "model.plan"
BATCH = "batch"  # how a manifest calls the dynamic first dimension
TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


def config_text(name: str, backend: str, manifest: Manifest, *, max_batch: int, gpu: bool) -> str:
    """The model's `config.pbtxt`.

    Triton leaves out the batch of each shape, and so do we, where every tensor has one; where one
    has not (the rows of `--nms flat`), it may not put requests together, and shapes are whole.
    """
    tensors = (*manifest.inputs, *manifest.outputs)
    batched = max_batch > 0 and all(tensor.shape[0] == BATCH for tensor in tensors)
    lines = [f"name: {quoted(name)}", f'backend: "{backend}"']
    lines += [f"max_batch_size: {max_batch if batched else 0}"]
    for role, infos in (("input", manifest.inputs), ("output", manifest.outputs)):
        lines += [f"{role} {tensor_text(info, batched=batched)}" for info in infos]
    lines += ["dynamic_batching { }"] if batched and max_batch > 1 else []
    lines += [f"instance_group {{ count: 1 kind: KIND_{'GPU' if gpu else 'CPU'} }}"]
    lines += [
        f'parameters {{ key: "{key}" value {{ string_value: {quoted(value)} }} }}'
        for key, value in plain_metadata(manifest).items()
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A string as the text format of protocol buffers writes it."""
    return json.dumps(text, ensure_ascii=False)


def tensor_text(info: TensorInfo, *, batched: bool) -> str:
    """One input or output; -1 is a dynamic dimension."""
    shape = info.shape[1:] if batched else info.shape
    dims = ", ".join(str(size if isinstance(size, int) else -1) for size in shape)
    return f'{{ name: "{info.name}" data_type: {TYPES[info.dtype]} dims: [ {dims} ] }}'


def served_files(path: Path) -> Iterator[tuple[Path, str]]:
    """Each file that the backend reads, and how Triton wants it called."""
    if path.suffix == ".engine":
        yield path, ENGINE_NAME
        return
    for file in files_of(path):
        yield file, FILE_NAMES[file.suffix]


def write_version(path: Path, folder: Path, text: str) -> Path:
    """Writes the config and the next version's files below `folder`; returns the version's folder.

    The version appears whole, since a server that polls its repository may look at any moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    versions = [int(found.name) for found in folder.iterdir() if found.name.isdigit()]
    version = folder / str(max(versions, default=0) + 1)
    hidden = folder / f".{version.name}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    for file, name in served_files(path):
        shutil.copyfile(file, hidden / name)
    config = folder / ".config.pbtxt"
    config.write_text(text, encoding="utf-8")
    config.replace(folder / "config.pbtxt")
    hidden.replace(version)
    return version


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--name", help="of the model; else the file's")
    parser.add_argument("--max-batch", type=int, default=8, help="0: requests are never joined")
    parser.add_argument("--gpu", action="store_true", help="run it there; a .engine always is")
    asked = parser.parse_args(args)
    path: Path = asked.model
    name = asked.name or path.name.split(".")[0]
    if path.suffix not in BACKENDS:
        sys.exit(f"error: {path}: expected one of {', '.join(BACKENDS)}")
    try:
        manifest = detkit.read_manifest(path)
    except detkit.DetkitError as error:
        sys.exit(f"error: {error}")
    gpu = asked.gpu or path.suffix == ".engine"
    text = config_text(name, BACKENDS[path.suffix], manifest, max_batch=asked.max_batch, gpu=gpu)
    print(write_version(path, asked.repository / name, text))


if __name__ == "__main__":
    main()
