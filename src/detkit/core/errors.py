"""Everything a user can mend, as one tree; each class knows the exit code it ends with.

    DetkitError            1   data, artifact or file system
    |- DataError           1   a COCO folder, an image, an annotation
    |- ArtifactError       1   a checkpoint, an ONNX file, a report
    |  |- NoManifestError  1   a whole ONNX file of another tool
    |  `- NonFiniteError   1   a model that gives NaN or Inf
    |- TrainingError       1   a run that diverged or cannot go on
    |- UsageError          2   a flag or a config value
    |- GateError           3   it ran, and a figure asked for was not met
    |- BackendError        4   an engine or device that is not here
    `- MeasurementError    5   a measurement that is unreliable or cannot be compared

Whatever else escapes is a bug of ours: exit 70 with a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DetkitError(Exception):
    """Something the user can mend. `hint` says how, where that is not obvious."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DataError(DetkitError):
    """A COCO folder, an image or an annotation that cannot be used."""


class ArtifactError(DetkitError):
    """A file that is missing, damaged, or not what the verb needs."""


class NoManifestError(ArtifactError):
    """An ONNX file that is whole and carries no manifest: another tool made it."""


class NonFiniteError(ArtifactError):
    """A model whose boxes or scores are NaN or Inf."""


class TrainingError(DetkitError):
    """A run that diverged or cannot be continued."""


class UsageError(DetkitError):
    """A flag or a config value that makes no sense."""

    exit_code = 2


class GateError(DetkitError):
    """A figure that the user asked for was measured and not reached."""

    exit_code = 3


class BackendError(DetkitError):
    """The engine or the device asked for is not on this machine."""

    exit_code = 4


class MeasurementError(DetkitError):
    """A measurement that is unreliable, or cannot be compared."""

    exit_code = 5


class DetkitWarning(UserWarning):
    """What goes on, and should be known: verbs show it on stderr as `warning: ...`."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or all of them; never a substitution.

    >>> did_you_mean("trian", ["train", "eval"])
    "did you mean 'train'?"
    >>> did_you_mean("fly", ["train", "eval"])
    'known: eval, train'
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(choices)
