"""Models that verbs run: opened as `--outputs`, `--runtime`, `--device` and `--threads` say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli import console

if TYPE_CHECKING:
    from detkit.runtime.session import Session
    from detkit.spec.onnx_description import OnnxDescription


def open_model(
    model: Path,
    *,
    outputs: str,
    engine: str,
    device: str,
    threads: int,
    data: Path | None = None,
    split: str = "",
) -> Session:
    """Opens a model of detkit's own, or one of another tool as `outputs` describes it.

    Args:
        data, split: as `description_of` has them.

    Raises:
        DetkitError: as `engines.opening.open_session`, and as `description_of`.
    """
    from detkit.engines.opening import open_session
    from detkit.runtime.session import SessionOptions

    session_options = SessionOptions(device=device, threads=threads)
    description = description_of(outputs, model, data=data, split=split)
    return open_session(
        model, engine=engine, session_options=session_options, description=description
    )


def check_names_classes(session: Session, model: Path) -> None:
    """Raises UsageError for a model that does not say what its classes are called."""
    from detkit.core.errors import UsageError

    if not session.manifest.class_names:
        raise UsageError(
            f"{model} does not name its classes",
            hint='--outputs FILE.json: {"preset": ..., "class_names": [...]}',
        )


def description_of(
    text: str, model: Path, *, data: Path | None = None, split: str = ""
) -> OnnxDescription | None:
    """The description of a model, with its class names; None where `text` is empty.

    Args:
        data: where the classes are taken from if neither the description nor the file names them.

    Raises:
        DetkitError: no such preset or file, or classes that cannot be read.
    """
    if not text:
        return None
    from detkit.data.coco.classes import with_class_names
    from detkit.onnx_signature.onnx_graph import read_graph
    from detkit.spec.onnx_presets import read_description

    spec = read_description(text)
    if data is not None and not (spec.classes_from or spec.class_names):
        if read_graph(model).class_names:
            return spec
        console.log(f"the classes of {model.name} are taken to be those of {data}, in order")
    return with_class_names(spec, data, split=split)


def descriptions_of(texts: Sequence[str], models: Sequence[Path]) -> dict[Path, OnnxDescription]:
    """One description for all the models of other tools, or one for each in order.

    Raises:
        UsageError: neither, or none of them needs one.
    """
    from detkit.core.errors import UsageError
    from detkit.onnx_signature.signature import lacks_manifest

    if not texts:
        return {}
    undescribed = [path for path in models if lacks_manifest(path)]
    if not undescribed:
        raise UsageError(f"--outputs: {models[0]} says itself what its outputs mean")
    if len(texts) not in (1, len(undescribed)):
        raise UsageError(
            f"--outputs: {len(texts)} descriptions for {len(undescribed)} models of other tools",
            hint="give one for all of them, or one for each in their order",
        )
    chosen = list(texts) * (len(undescribed) // len(texts))
    pairs = zip(undescribed, chosen, strict=True)
    return {path: spec for path, text in pairs if (spec := description_of(text, path))}
