"""What is shipped beside the code: starter weights, their model card, their attributions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import detkit.starter
from detkit.artifact.artifact import read_manifest
from detkit.artifact.licence import PERMISSIVE
from detkit.core.errors import UsageError
from detkit.spec.space import same_network
from detkit.spec.zoo import ZOO
from detkit.starter import FOLDER, starter_names, starter_path

MAX_BYTES = 6_000_000
KEYS = {
    "name", "title", "url", "commit", "licence", "licence_found_in", "attribution", "images",
    "changes",
}  # fmt: skip


@pytest.fixture
def sources() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "attributions.json").read_text())["sources"]
    return found


def test_shipped_weights_are_what_their_name_says_small_and_under_our_licence() -> None:
    for name in starter_names():
        path = starter_path(name)
        manifest = read_manifest(path)
        assert same_network(manifest.arch, ZOO[name])
        assert (manifest.kind, manifest.form, manifest.quant) == ("checkpoint", "training", None)
        assert (manifest.licence, manifest.weights_dtype) == ("Apache-2.0", "float16")
        assert path.stat().st_size <= MAX_BYTES
        assert {"ap", "ap50"} <= set(manifest.metrics)
        for text in (manifest.data, manifest.command):
            assert "/home" not in text
            assert not text.startswith("/")
        assert name in (FOLDER / "MODEL_CARD.md").read_text()


def test_names_are_those_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detkit.starter, "FOLDER", tmp_path)
    assert starter_names() == ()
    with pytest.raises(UsageError) as raised:
        starter_path("yolo-nas-n")
    assert raised.value.hint == "--init none trains from scratch"
    for name in ("b", "a"):
        (tmp_path / f"{name}.safetensors").touch()
    assert starter_names() == ("a", "b")
    assert starter_path("a") == tmp_path / "a.safetensors"


def test_every_source_is_attributed_and_allows_it(sources: list[dict[str, Any]]) -> None:
    for source in sources:
        assert set(source) >= KEYS, source["name"]
        assert all(source[key] for key in KEYS), source["name"]
        assert source["licence"] in PERMISSIVE
        for place in (source, source.get("also", source)):
            assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", place["url"])
            assert re.fullmatch(r"[0-9a-f]{40}", place["commit"])
    assert len({source["name"] for source in sources}) == len(sources)


def test_the_model_card_lists_the_sources_with_licence_and_images(
    sources: list[dict[str, Any]],
) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text()
    lines = [line for line in card.splitlines() if line.startswith("|")]
    table = {line.strip("| ").split(" | ")[0]: line for line in lines}
    for source in sources:
        row = table[source["name"]]
        assert f"| {source['licence']} |" in row
        assert f"| {source['images']['train']} / {source['images']['val'] or '-'} |" in row


def test_every_file_beside_the_code_is_in_the_package() -> None:
    root = FOLDER.parent
    text = (root.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^detkit = \[(.*)\]$", text, re.MULTILINE)
    packaged = {path for glob in json.loads(f"[{line}]") for path in root.glob(glob)}
    data = {
        path
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert data == packaged
