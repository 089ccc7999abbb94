from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detkit.checks import engine_warnings, machine_warnings, numbers, state_of
from detkit.engines import ENGINES
from detkit.machine.instructions import int8_instructions, vector_instructions
from detkit.report.checks import NOT_INSTALLED, READY, EngineCheck

MakeTree = Callable[[Mapping[str, str]], Path]


def engine(version: str, state: str = READY) -> EngineCheck:
    """The check of ONNX Runtime in this version."""
    record = ENGINES["onnxruntime"]
    return EngineCheck(
        name=record.name,
        package=record.package,
        version=version,
        state=state,
        precisions=record.precisions,
        measured=record.measured,
    )


@pytest.mark.parametrize(
    ("module", "source", "state"),
    [
        ("whole_engine", "", READY),
        ("absent_engine", None, NOT_INSTALLED),
        ("broken_engine", "raise OSError('libx.so: not found')", "does not load: OSError: libx"),
        ("crashing_engine", "import os; os.abort()", "does not load: exit code -6"),
    ],
)
def test_an_engine_is_loaded_where_its_crash_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str | None, state: str
) -> None:
    if source is not None:
        (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert state_of(dataclasses.replace(ENGINES["onnxruntime"], module=module)).startswith(state)


def test_versions_within_what_was_measured_are_not_warned_of() -> None:
    oldest, newest = ENGINES["onnxruntime"].measured or ("", "")
    assert [*engine_warnings(engine(oldest)), *engine_warnings(engine(newest))] == []
    assert [*engine_warnings(engine("", NOT_INSTALLED))] == []


def test_versions_outside_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.9.0", "99.0.1"):
        (text,) = engine_warnings(engine(version))
        assert text.startswith(f"onnxruntime {version} is not among the versions")
    slow = dataclasses.replace(ENGINES["onnxruntime"], caveats=(("1.22.0", "fuses nothing"),))
    monkeypatch.setitem(ENGINES, "onnxruntime", slow)
    assert [*engine_warnings(engine("1.22.0"))] == ["onnxruntime 1.22.0: fuses nothing"]
    assert [*engine_warnings(engine("1.22.1"))] == []


def test_an_engine_that_does_not_load_is_warned_of() -> None:
    (text,) = engine_warnings(engine("1.20.0", "does not load: OSError: libx"))
    assert text == "onnxruntime is installed and cannot be used: does not load: OSError: libx"


def test_versions_compare_by_their_numbers() -> None:
    ordered = ["1.9", "1.18.1", "1.22.0", "2024.6.0", "2026.4.1-20100-abc"]
    assert sorted(ordered, key=numbers) == ordered


def test_instructions_are_those_the_kernel_lists(make_tree: MakeTree) -> None:
    x86 = make_tree({"proc/cpuinfo": "flags : fpu avx2 avx512f avx512_vnni avx_vnni_int8"})
    arm = make_tree({"proc/cpuinfo": "Features : fp asimd asimddp"})
    assert (vector_instructions(x86), int8_instructions(x86)) == (
        ("AVX2", "AVX-512"),
        ("AVX512-VNNI",),
    )
    assert int8_instructions(arm) == ("ASIMD dot product",)
    assert int8_instructions(make_tree({})) == ()


def test_what_makes_a_machine_slow_or_full_is_told() -> None:
    assert [*machine_warnings({"memory_gib": "8"}, ("AVX-VNNI",), {"/": 5.0})] == []
    machine = {"memory_gib": "1", "governor": "powersave"}
    texts = [*machine_warnings(machine, (), {"/tmp": 0.2})]
    expected = ["no INT8 dot products", "'powersave'", "1 GiB of memory", "0.2 GB are free in /tmp"]
    assert len(texts) == len(expected)
    assert all(part in text for part, text in zip(expected, texts, strict=True))
