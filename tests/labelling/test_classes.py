from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config import LabelConfig
from detkit.core.errors import UsageError
from detkit.labelling.classes import ClassMap, plan_classes, read_class_map

MODEL = ("car", "truck", "dog", "person")
VEHICLES = ClassMap(labels={"car": "vehicle", "truck": "vehicle", "dog": None})


def test_classes_are_renamed_joined_dropped_and_kept() -> None:
    classes = plan_classes(MODEL, LabelConfig(), VEHICLES)
    assert classes.names == ("vehicle", "person")
    assert classes.label_of.tolist() == [0, 0, -1, 1]
    assert classes.are_joined
    assert classes.renamed == {"car": "vehicle", "truck": "vehicle"}
    assert classes.dropped == ("dog",)


def test_classes_that_the_map_does_not_name_may_be_dropped() -> None:
    classes = plan_classes(MODEL, LabelConfig(unmapped="drop"), VEHICLES)
    assert (classes.names, classes.dropped) == (("vehicle",), ("dog", "person"))


def test_classes_of_people_come_first_and_are_met_by_name() -> None:
    classes = plan_classes(MODEL, LabelConfig(), VEHICLES, human_names=("sheep", "person"))
    assert classes.names == ("sheep", "person", "vehicle")
    assert classes.label_of.tolist() == [2, 2, -1, 1]
    assert classes.is_looked_for.tolist() == [False, True, True]
    assert classes.num_human == 2


def test_a_class_of_the_model_goes_before_its_label_and_both_before_all() -> None:
    class_map = ClassMap(labels=VEHICLES.labels, scores={"vehicle": 0.5, "truck": 0.75})
    classes = plan_classes(MODEL, LabelConfig(score=0.25), class_map)
    assert classes.least_scores == {"car": 0.5, "truck": 0.75, "person": 0.25}


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (ClassMap(labels={"cra": "x"}), "the model has no class 'cra'"),
        (ClassMap(scores={"bike": 0.5}), "neither the model nor the labels have the class 'bike'"),
        (ClassMap(labels=dict.fromkeys(MODEL)), "no class of the model has a label"),
    ],
)
def test_names_that_are_not_there_are_refused(class_map: ClassMap, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_classes(MODEL, LabelConfig(), class_map)


def test_a_class_that_the_map_names_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"car": "vehicle", "dog": null, "car": null}')
    with pytest.raises(UsageError, match=r"map\.json: not valid JSON: 'car' stands twice"):
        read_class_map(path)


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_a_name_that_annotations_cannot_hold_may_be_replaced(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a class"):
        plan_classes((name, "dog"), LabelConfig(), ClassMap())
    assert plan_classes((name,), LabelConfig(), ClassMap(labels={name: "x"})).names == ("x",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", '{"car": "vehicle", "dog": null, "bus": {"name": "vehicle", "score": 1}}'),
        ("map.toml", 'car = "vehicle"\ndog = ""\nbus = {name = "vehicle", score = 1}\n'),
    ],
)
def test_a_map_is_json_or_toml(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read_class_map(tmp_path / name)
    assert found.labels == {"car": "vehicle", "dog": None, "bus": "vehicle"}
    assert found.scores == {"bus": 1}


def test_a_table_may_hold_the_score_alone(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"car": {"score": 0.5}}')
    assert read_class_map(tmp_path / "map.json") == ClassMap(
        labels={"car": "car"}, scores={"car": 0.5}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a table"),
        ('{"car": 3}', "'car': 3 is no name"),
        ('{"car": {"nmae": "x"}}', "'car': unknown key 'nmae'"),
        ('{"car": {"score": 2}}', "'car': a score is a number from 0 to 1, got 2"),
        ('{"car": {"score": true}}', "got True"),
        ('{"car": {"score": NaN}}', "got nan"),
        ('{"car": ', "not valid JSON"),
    ],
)
def test_a_map_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_class_map(tmp_path / "map.json")
