"""The names that TensorRT's Python bindings have, version by version, as JSON for a test.

    python benchmarks/tensorrt_api.py tests/export/tensorrt_api.json WHEEL...

Takes wheels of `tensorrt-cu12-bindings` and `tensorrt-cu13-bindings` made for the Python that runs
this. The bindings are the real ones; the libraries under them are stood in for by empty functions,
so that no GPU and none of the large wheels is needed (a C compiler is).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FUNCTIONS = (
    "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL"
    " createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getBuilderPluginRegistry"
    " getNvOnnxParserVersion getPluginRegistry initLibNvInferPlugins"
).split()
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
CLASSES = (
    "Builder BuilderFlag DataType IBuilderConfig ICudaEngine IExecutionContext IHostMemory ILogger"
    " INetworkDefinition IOptimizationProfile ITensor ITimingCache MemoryPoolType"
    " NetworkDefinitionCreationFlag OnnxParser ParserError Runtime TensorIOMode"
).split()
DUMP = """
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.ExtensionFileLoader("tensorrt", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tensorrt", loader))
loader.exec_module(module)
public = lambda thing: sorted(n for n in dir(thing) if not n.startswith("_"))
print(json.dumps({name: public(getattr(module, name)) for name in sys.argv[2:]}))
"""


def main(out: Path, wheels: list[Path]) -> None:
    names = {wheel.name.split("-")[1]: names_in(wheel) for wheel in wheels}
    out.write_text(json.dumps(names, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def names_in(wheel: Path) -> dict[str, list[str]]:
    """Class -> its public names."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zipfile.ZipFile(wheel).extractall(folder)
        (bindings,) = folder.rglob("tensorrt.so")
        for version in ("10", "11"):
            write_stand_ins(folder, version)
        done = subprocess.run(
            [sys.executable, "-c", DUMP, str(bindings), *CLASSES],
            env=os.environ | {"LD_LIBRARY_PATH": name},
            capture_output=True,
            check=True,
            text=True,
        )
    names: dict[str, list[str]] = json.loads(done.stdout)
    return names


def write_stand_ins(folder: Path, version: str) -> None:
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for library in LIBRARIES:
        target = folder / f"{library}.so.{version}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(target), str(source)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
