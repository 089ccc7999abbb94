"""`--outputs`: what ONNX files of other tools take and give, for the verbs that run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli import console

if TYPE_CHECKING:
    from detkit.data.coco.coco_json import Categories
    from detkit.spec.foreign import ForeignSpec


def foreign_spec(
    text: str, model: Path, *, data: Path | None = None, split: str = ""
) -> ForeignSpec | None:
    """The description of a model, with its class names; None where `text` is empty.

    Args:
        data: where the classes are taken from if neither the description nor the file names them.

    Raises:
        DetkitError: no such preset or file, or classes that cannot be read.
    """
    if not text:
        return None
    import dataclasses

    from detkit.data.coco.classes import read_classes
    from detkit.foreign.onnx_graph import read_graph
    from detkit.spec.foreign import read_foreign_spec

    spec = read_foreign_spec(text)
    place = Path(spec.classes_from) if spec.classes_from else data
    if place is None or spec.class_names:
        return spec
    if not spec.classes_from:
        if read_graph(model).class_names:
            return spec
        console.log(f"the classes of {model.name} are taken to be those of {place}, in order")
    names = _numbered(read_classes(place, split=split), spec)
    return dataclasses.replace(spec, class_names=names, classes_from="")


def foreign_specs(texts: Sequence[str], models: Sequence[Path]) -> dict[Path, ForeignSpec]:
    """One description for all the models of other tools, or one for each in order.

    Raises:
        UsageError: neither, or none of them needs one.
    """
    from detkit.core.errors import UsageError
    from detkit.foreign.signature import is_foreign

    if not texts:
        return {}
    foreign = [path for path in models if is_foreign(path)]
    if not foreign:
        raise UsageError(f"--outputs: {models[0]} says itself what its outputs mean")
    if len(texts) not in (1, len(foreign)):
        raise UsageError(
            f"--outputs: {len(texts)} descriptions for {len(foreign)} models of other tools",
            hint="give one for all of them, or one for each in their order",
        )
    chosen = list(texts) * (len(foreign) // len(texts))
    pairs = zip(foreign, chosen, strict=True)
    return {path: spec for path, text in pairs if (spec := foreign_spec(text, path))}


def _numbered(categories: Categories, spec: ForeignSpec) -> tuple[str, ...]:
    """The name of each number that the model gives, "" where no class has it."""
    if spec.labels == "index":
        return categories.names
    names = dict(zip(categories.ids, categories.names, strict=True))
    first = 1 if spec.outputs.background == "first" else 0
    return tuple(names.get(number, "") for number in range(first, max(names) + 1))
