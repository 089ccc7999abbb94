"""JSON of ours that a person edited, taken as it is now: every digest in it is made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detkit.artifact.writing import write_text
from detkit.core.content_digest import ACCEPT_FLAG, seal, seal_again
from detkit.core.errors import ArtifactError
from detkit.core.json_text import parse_json
from detkit.core.serialization import to_json
from detkit.inspection.other_files import SEARCH_FRONT, read_text, shape_of
from detkit.inspection.run_folder import kind_of


def accept_edits(path: Path) -> None:
    """Writes the file again with the digest of what it holds.

    Raises:
        ArtifactError: not JSON that a verb wrote, or not valid.
    """
    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        raise ArtifactError(f"{ACCEPT_FLAG} is for JSON files that a verb wrote, not for {path}")
    try:
        if path.suffix == ".jsonl":
            rows = [seal_again(parse_json(line)) for line in read_text(path).splitlines()]
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        else:
            write_text(path, to_json(_accepted(path, parse_json(read_text(path)))) + "\n")
    except ValueError as error:
        raise ArtifactError(f"{path}: not valid JSON: {error}") from error


def _accepted(path: Path, plain: Any) -> Any:
    again = seal_again(plain)
    if kind_of(again):
        return seal(again)
    if isinstance(again, list) and (shape_of(path, again) or ("", None))[0] == SEARCH_FRONT:
        return [seal(item) for item in again]
    raise ArtifactError(f"{path} is not a detkit JSON file")
