"""Licences from parent to child."""

from __future__ import annotations

import dataclasses

import pytest

from detkit.artifact.artifact import Manifest
from detkit.artifact.licence import (
    WeightsOrigin,
    inherit,
    is_permissive,
    join_licences,
    teacher_note,
)
from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json, to_plain

NON_COMMERCIAL = WeightsOrigin(licence="Theirs (non-commercial)", source="yolo_nas_s.pth")
FREE = WeightsOrigin(licence="Apache-2.0", source="detkit starter weights")


def test_a_child_of_restricted_weights_inherits_their_licence_and_source() -> None:
    found = inherit(NON_COMMERCIAL, name="s.safetensors")
    assert found.origin == NON_COMMERCIAL
    assert found.warnings == ()
    assert "Theirs (non-commercial), inherited from s.safetensors" in found.notes[0]


def test_a_stated_licence_stands_beside_an_inherited_one_and_never_in_its_place() -> None:
    found = inherit(NON_COMMERCIAL, name="s.safetensors", stated="MIT")
    assert found.origin.licence == "MIT AND Theirs (non-commercial)"
    assert found.origin.source == NON_COMMERCIAL.source
    (warning,) = found.warnings
    assert "stay under 'Theirs (non-commercial)' too" in warning


def test_a_permissive_parent_is_recorded_without_a_warning() -> None:
    found = inherit(FREE, name="n", stated="Proprietary")
    assert found.origin.licence == "Proprietary AND Apache-2.0"
    assert (len(found.notes), found.warnings) == (1, ())
    assert inherit(FREE, name="n", stated="Apache-2.0").notes == ()


def test_a_grandchild_of_the_same_owner_is_not_warned_again() -> None:
    child = inherit(NON_COMMERCIAL, name="s", stated="MIT").origin
    again = inherit(child, name="child", stated=child.licence)
    assert again.origin == child
    assert (again.notes, again.warnings) == ((), ())


def test_weights_of_unknown_origin_say_so_in_their_children() -> None:
    found = inherit(WeightsOrigin(), name="old.safetensors", stated="MIT")
    assert found.origin.licence == "MIT"
    assert "old.safetensors" in found.origin.source
    assert "does not say where its weights come from" in found.notes[0]


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND AGPL-3.0", False),
        ("", False),
        ("mine", False),
    ],
)
def test_permissive_is_what_every_part_is_known_to_be(licence: str, permissive: bool) -> None:
    assert is_permissive(licence) == permissive
    assert bool(teacher_note("teacher.onnx", licence)) != permissive


def test_join_keeps_the_order_and_names_each_once() -> None:
    assert join_licences("b", "a AND b", "", "c") == "b AND a AND c"
    assert join_licences("", "") == ""


def test_a_manifest_of_before_licences_reads_as_not_stated() -> None:
    from detkit.spec.preprocess import Preprocess
    from detkit.spec.zoo import ZOO

    spec = dataclasses.replace(ZOO["yolo-nas-p"], num_classes=1)
    size = spec.image_size
    manifest = Manifest(
        kind="checkpoint", arch=spec, class_names=("a",), preprocess=Preprocess.filling(size)
    )
    plain = to_plain(manifest)
    for name in ("licence", "weights_source", "weights_dtype"):
        del plain[name]
    old = from_json(Manifest, to_json({**plain, "schema_version": 1}))
    assert old.origin == WeightsOrigin()
    assert old.weights_dtype == "float32"
    with pytest.raises(UsageError, match="unknown weights_dtype 'int4'"):
        dataclasses.replace(manifest, weights_dtype="int4")
