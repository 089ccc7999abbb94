"""What a resumed search must find again, wherever it lies now, and when there is one to resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from detkit.config import SearchConfig, to_toml
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.run_lock import Holder
from detkit.data.synthetic.synth import synthesize
from detkit.search.study.journal import JOURNAL, Journal
from detkit.search.study.settings import CONFIG, fixed_settings, goes_on, resolve_search
from detkit.spec.space import SPACES

SPACE = SPACES["tiny"]
KILLED = Holder(pid=1, host="here", since="now")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    synthesize(folder, images={"train": 2, "val": 2}, size=64, seed=1)
    return folder


def test_scores_hold_to_the_data_and_the_files_not_to_their_paths(
    data: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.onnx"
    teacher.write_text("weights")
    config = SearchConfig(data=str(data), evaluator="train")
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, teacher=str(teacher))
    )
    before = fixed_settings(config, SPACE, "measured")
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    config = dataclasses.replace(config, data=str(moved))
    assert fixed_settings(config, SPACE, "measured") == before
    teacher.write_text("other weights")
    path = moved / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][2] /= 2
    path.write_text(json.dumps(document))
    now = fixed_settings(config, SPACE, "measured")
    assert {key for key in now if now[key] != before[key]} == {"data", "train.teacher"}


def test_a_proxy_reads_no_data() -> None:
    config = SearchConfig(data="nowhere", evaluator="proxy")
    assert "data" not in fixed_settings(config, SPACE, "measured")


def test_a_folder_that_is_gone_is_told_with_the_way_to_its_new_place(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(to_toml(SearchConfig(data=str(tmp_path / "gone"))))
    with pytest.raises(ArtifactError, match="data of this run is not there any more") as caught:
        resolve_search({}, file=None, sets=(), resume=True, out=tmp_path)
    assert caught.value.hint.endswith(f"detkit search -o {tmp_path} --resume --set data=PATH")
    (tmp_path / "here").mkdir()
    found = resolve_search(
        {"data": str(tmp_path / "here")}, file=None, sets=(), resume=True, out=tmp_path
    )
    assert found.data == str(tmp_path / "here")
    with pytest.raises(UsageError, match="no search to resume"):
        resolve_search({}, file=None, sets=(), resume=True, out=tmp_path / "here")


def test_a_search_killed_before_its_first_trial_starts_again_and_no_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no search to resume"):
        goes_on(tmp_path, SearchConfig(), resume=True, force=False, killed=None)
    assert not goes_on(tmp_path, SearchConfig(), resume=True, force=False, killed=KILLED)
    (tmp_path / CONFIG).touch()
    journal = Journal(tmp_path / JOURNAL, {})
    journal.ask([{"a": 1}])
    journal.close()
    assert goes_on(tmp_path, SearchConfig(), resume=True, force=False, killed=None)
    assert not goes_on(tmp_path, SearchConfig(), resume=False, force=False, killed=KILLED)
    with pytest.raises(UsageError, match="already exists"):
        goes_on(tmp_path, SearchConfig(), resume=False, force=False, killed=None)
    journal = Journal(tmp_path / JOURNAL, {})
    journal.tell({"a": 1}, {"x": 1.0})
    journal.close()
    with pytest.raises(UsageError, match="already exists"):
        goes_on(tmp_path, SearchConfig(), resume=False, force=False, killed=KILLED)
