"""Arrays that a searcher took long to compute, in a study's folder: a `searcher.ArrayCache`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from detkit.artifact.sealed_json import read_sealed, write_sealed
from detkit.search.scoring.study_folder import claim_in_study
from detkit.search.strategies.discrete_space import Floats


class FileCache:
    """One file for each array, written whole or not at all."""

    def __init__(self, folder: Path, find_key: Callable[[], str]) -> None:
        """`find_key` names all that the arrays depend on; it is called for the first array."""
        self.folder, self.find_key = folder, find_key

    def __call__(self, name: str, make: Callable[[], Floats]) -> Floats:
        path = self.folder / f"{name}.json"
        if path.is_file():
            kept = read_sealed(path)
            if kept["key"] == self.key:
                return np.array(kept["values"], np.float64)
        values = make()
        claim_in_study(self.folder.parent, f"{self.folder.name}/{path.name}")
        write_sealed(path, {"key": self.key, "values": values.tolist()})
        return values

    @functools.cached_property
    def key(self) -> str:
        return self.find_key()
