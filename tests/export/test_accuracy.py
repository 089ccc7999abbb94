"""What is shipped scores what was trained: AP of every export by every engine that runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.artifact.artifact import parent_of
from detkit.core.errors import BackendError
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.engines import engines_of, exporters, find_engine
from detkit.engines.engine import Engine
from detkit.engines.exporting import ExportOptions, find_exporter, load_exporter
from detkit.engines.opening import open_session
from detkit.evaluation.evaluate import score_split

FORMS = [
    (target, engine) for target in exporters() for engine in (e.name for e in engines_of(target))
]


def skip_unless_it_runs(engine: Engine) -> None:
    pytest.importorskip(engine.module)
    if engine.check:
        try:
            engine.load(engine.check)(engine.name)
        except BackendError as error:
            pytest.skip(f"{engine.name}: {error}")


def ap_of(path: Path, split: CocoSplit, *, engine: str = "") -> float:
    session = open_session(path, engine=engine)
    found = score_split(session, split, model=parent_of(path), data="labelled")
    assert found.ap is not None
    return found.ap


@pytest.fixture(scope="module")
def split(labelled: Path) -> CocoSplit:
    return open_folder(labelled, splits=("val",)).split("val")


@pytest.mark.parametrize(("target", "engine"), FORMS)
def test_ap_stays_within_a_thousandth_of_torch(
    settled: Callable[..., Path], split: CocoSplit, tmp_path: Path, target: str, engine: str
) -> None:
    skip_unless_it_runs(find_exporter(target))
    skip_unless_it_runs(find_engine(engine))
    path = tmp_path / f"m{exporters()[target].suffix}"
    load_exporter(target)(settled(), path, ExportOptions())
    wanted = ap_of(settled(), split)
    assert 0.1 < wanted < 0.9
    assert abs(ap_of(path, split, engine=engine) - wanted) <= 1e-3
