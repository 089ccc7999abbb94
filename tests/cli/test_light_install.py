"""`pip install detkit` without extras: what works, and what says the one line to type.

The wheel is built and unpacked beside links to its base dependencies alone, found by walking their
metadata, so an import of anything else fails as it does on a device.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = "import sys; from detkit.cli.app import main; sys.exit(main())"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def closure(name: str, extra: str = "") -> Iterator[str]:
    """The distribution and all that it requires on this machine, repeated where required twice."""
    yield name
    for line in importlib.metadata.requires(name) or []:
        wanted, _, marker = line.partition(";")
        if "extra ==" in marker and not (extra and f"'{extra}'" in marker.replace('"', "'")):
            continue
        required = re.split(r"[^\w.-]", wanted.strip(), maxsplit=1)[0]
        try:
            importlib.metadata.distribution(required)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or system
        yield from closure(required)


def link(name: str, folder: Path) -> None:
    """Links everything that the distribution put at the top of site-packages."""
    distribution = importlib.metadata.distribution(name)
    for top in {path.parts[0] for path in distribution.files or () if path.parts[0] != ".."}:
        source, target = Path(str(distribution.locate_file(top))), folder / top
        if source.exists() and not target.exists() and top != "__pycache__":
            target.symlink_to(source)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`device(ARGS...)`: the wheel of detkit with its base dependencies, no repository around."""
    home = tmp_path_factory.mktemp("device")
    site = home / "site"
    site.mkdir()
    build = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
    subprocess.run(
        [*build, "--wheel-dir", str(home), str(ROOT)], check=True, capture_output=True, timeout=200
    )
    with zipfile.ZipFile(next(home.glob("detkit-*.whl"))) as wheel:
        wheel.extractall(site)
    for name in {*closure("detkit")} - {"detkit"}:
        link(name, site)

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-c", MAIN, *map(str, args)],
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_an_exported_file_is_timed_scored_drawn_with_and_described(
    device: Run, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    model, report = cell_model(), tmp_path / "bench.json"
    for args in (
        ("info", model),
        ("bench", model, "--runs", 10, "--seconds", 0, "--data", cell_folder, "-o", report),
        ("eval", model, cell_folder),
        ("predict", model, cell_folder / "images", "-o", tmp_path / "out"),
        ("info", report),
        ("data", "check", cell_folder),
        ("data", "label", cell_folder / "images", "--model", model, "-o", tmp_path / "labelled"),
    ):
        done = device(*args)
        assert done.returncode == 0, (args, done.stderr)
    assert json.loads(report.read_text())["models"]


@pytest.mark.parametrize(
    "args",
    [
        ("train", "DATA"),
        ("reparam", "MODEL"),
        ("export", "MODEL"),
        ("quantize", "--int8", "MODEL", "--data", "DATA"),
        ("advise", "MODEL", "--data", "DATA"),
        ("compare", "yolo-nas-p"),
        ("search", "-o", "OUT"),
        ("import", "MODEL"),
    ],
)
def test_verbs_that_need_torch_say_the_one_line_to_type(
    device: Run,
    settled: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
    args: tuple[str, ...],
) -> None:
    names = {"DATA": cell_folder, "MODEL": settled(), "OUT": tmp_path / "out"}
    done = device(*(names.get(arg, arg) for arg in args))
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "hint: pip install 'detkit[train]'" in done.stderr
