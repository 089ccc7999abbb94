"""JSON that a verb keeps for itself from one run to the next, with the digest of its values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.artifact.writing import write_text
from detkit.core.content_digest import check_seal, seal
from detkit.core.errors import ArtifactError
from detkit.core.reading import bytes_of


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Writes the values and their digest, atomically."""
    write_text(path, json.dumps(seal(values)) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """The values that `write_sealed` wrote, and their digest.

    Raises:
        ArtifactError: damaged, or not of detkit.
    """
    remedy = f"rm {path}: what it holds is found out again"
    try:
        plain = json.loads(bytes_of(path))
        check_seal(plain, str(path))
    except ArtifactError as error:
        raise ArtifactError(str(error), hint=remedy) from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: {error}", hint=remedy) from error
    return dict(plain)
