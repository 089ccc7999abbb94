"""What this installation and this machine can do, and what is known to go wrong with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detkit.artifact.artifact import versions
from detkit.core.errors import BackendError
from detkit.engines import ENGINES, engine_packages
from detkit.engines.engine import Engine
from detkit.machine.fingerprint import fingerprint
from detkit.machine.instructions import int8_instructions, vector_instructions
from detkit.machine.sysfs import ROOT
from detkit.report import ChecksReport, EngineCheck
from detkit.report.checks import NOT_INSTALLED, READY

# What the torch-free half needs, then what training does.
PACKAGES = (
    *("numpy", "pillow", "pycocotools", "faster-coco-eval", "typer", "rich"),
    *("safetensors", "onnx", "onnxscript", "onnxsim", "onnxslim"),
)
# Variables that change what engines do.
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "KMP_AFFINITY", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "PYTHONPATH", "TMPDIR"),
)
LEAST_DISK_GB, LEAST_MEMORY_GIB = 1.0, 2
PATIENCE_SECONDS = 120  # for an engine to load


def check_installation(root: Path = ROOT) -> ChecksReport:
    """Loads every engine in a process of its own, so that one that crashes is only told."""
    engines = tuple(check_engine(record) for record in ENGINES.values())
    machine = fingerprint(engine_packages(), root)
    int8, disk = int8_instructions(root), disk_free_gb()
    found = versions(*PACKAGES)
    return ChecksReport(
        packages={name: found.get(name, "") for name in (*versions(), *PACKAGES)},
        machine=machine,
        vector_instructions=vector_instructions(root),
        int8_instructions=int8,
        engines=engines,
        disk_free_gb=disk,
        environment={name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
        warnings=(
            *(text for engine in engines for text in engine_warnings(engine)),
            *machine_warnings(machine, int8, disk),
        ),
    )


def check_engine(record: Engine) -> EngineCheck:
    """Whether an engine loads here, and in which version."""
    found = versions(*record.packages)
    package = next((name for name in record.packages if name in found), "")
    return EngineCheck(
        name=record.name,
        package=package or record.package,
        version=found.get(package, ""),
        state=state_of(record),
        precisions=record.precisions,
        measured=record.measured,
    )


def state_of(record: Engine) -> str:
    """READY, NOT_INSTALLED, or why the engine does not load."""
    if not record.is_installed:
        return NOT_INSTALLED
    command = [sys.executable, "-c", f"import {record.module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"does not load within {PATIENCE_SECONDS} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return f"does not load: {lines[-1] if lines else f'exit code {done.returncode}'}"
    if record.check:
        try:
            record.load(record.check)(record.name)
        except BackendError as error:
            return str(error)
    return READY


def disk_free_gb() -> dict[str, float]:
    """Gigabytes free where files are written: this folder, and that of temporary files."""
    folders = (Path.cwd(), Path(tempfile.gettempdir()))
    return {str(folder): round(shutil.disk_usage(folder).free / 1e9, 1) for folder in folders}


# --- what is known to go wrong -------------------------------------------------------------------


def engine_warnings(engine: EngineCheck) -> Iterator[str]:
    """What is known of this version of an engine."""
    record = ENGINES[engine.name]
    if engine.state not in (READY, NOT_INSTALLED):
        yield f"{engine.name} is installed and cannot be used: {engine.state}"
    if not engine.version:
        return
    for version, text in record.caveats:
        if numbers(engine.version) == numbers(version):
            yield f"{engine.package} {engine.version}: {text}"
    if engine.measured is None:
        return
    oldest, newest = map(numbers, engine.measured)
    if not oldest <= numbers(engine.version) <= newest:
        yield (
            f"{engine.package} {engine.version} is not among the versions that INT8 files were"
            f" measured on ({' to '.join(engine.measured)}): detkit bench tells how they run"
        )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, for comparison.

    >>> numbers("1.23.2rc1"), numbers("2026.4.1-20100-abc")
    ((1, 23), (2026, 4))
    >>> numbers("1.9") < numbers("1.18.1")
    True
    """
    found = []
    for part in version.split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)


def machine_warnings(
    machine: dict[str, str], int8: tuple[str, ...], disk: dict[str, float]
) -> Iterator[str]:
    """What of this machine makes networks slow, or work fail."""
    if not int8:
        yield (
            "this CPU has no INT8 dot products: INT8 is little faster than float, and on x86 wants"
            " detkit quantize --set weight_bits=7"
        )
    if (governor := machine.get("governor")) and governor != "performance":
        yield f"the CPU's governor is '{governor}': latency varies with its clock"
    if int(machine.get("memory_gib", LEAST_MEMORY_GIB)) < LEAST_MEMORY_GIB:
        yield f"{machine['memory_gib']} GiB of memory: training wants more"
    for folder, free in disk.items():
        if free < LEAST_DISK_GB:
            yield f"{free} GB are free in {folder}"
