from __future__ import annotations

from pathlib import Path

import pytest

from detkit.core.errors import ArtifactError
from detkit.profile.front import read_front


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is empty"),
        ("[1]", "not the front"),
        ("[{}]", "not the front"),
        ("[", "not the front"),
    ],
)
def test_list_that_is_no_front_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pareto.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_front(path)
