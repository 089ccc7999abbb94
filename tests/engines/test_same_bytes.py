"""Exporting one checkpoint twice gives the same bytes: no time, no path, no order of a hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from detkit.artifact.artifact import sha256_of

FORMS = {  # the file: what `export` is asked besides the checkpoint
    "float.onnx": "",
    "batched.onnx": "--nms batched",
    "flat.onnx": "--uint8 --nms flat",
    "int8.onnx": "--allow-slower",
    "half.xml": "--to openvino --half",
    "int8.xml": "--to openvino --allow-slower",
}
SCRIPT = """
import os, sys
from detkit.cli.app import main
os.chdir(sys.argv[1])
for line in sys.argv[2:]:
    sys.argv = ["detkit", "export", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, line
"""


def exported(folder: Path, hash_seed: str) -> dict[str, str]:
    """Exports every form into the folder, in a process of its own; gives each file's SHA-256."""
    lines = [
        f"{'int8' if name.startswith('int8') else 'float'}.safetensors {flags} -o {name}"
        for name, flags in FORMS.items()
    ]
    command = [sys.executable, "-c", SCRIPT, str(folder), *lines]
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}


def test_two_exports_have_the_same_bytes(
    settled: Callable[..., Path], int8: Callable[..., Path], tmp_path: Path
) -> None:
    found = []
    for number in "12":
        folder = tmp_path / number
        folder.mkdir()
        shutil.copyfile(settled(), folder / "float.safetensors")
        shutil.copyfile(int8(), folder / "int8.safetensors")
        found.append(exported(folder, number))
    assert len(found[0]) == 2 + len(FORMS) + 2  # an .xml has its .bin
    assert found[0] == found[1]
