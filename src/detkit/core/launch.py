"""How this process was launched: alone, or by torchrun as one of several that do one run together.

The one place that reads torchrun's environment. What the processes say to each other is in
`train.ranks`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from detkit.core.errors import UsageError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The number of this process among all, and among those on its machine; from 0."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks for all."""
        return self.rank == 0


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Reads what torchrun sets; a process on its own where any of it is missing.

    Raises:
        UsageError: numbers that make no sense.
    """
    if not all(environment.get(name) for name in (*VARIABLES, *ADDRESS)):
        return Launch()
    given = {name: environment[name] for name in VARIABLES}
    try:
        rank, processes, local_rank, local_processes = map(int, given.values())
    except ValueError:
        rank, processes, local_rank, local_processes = 1, 0, 1, 0
    if not (0 <= local_rank < local_processes <= processes and 0 <= rank < processes):
        shown = " ".join(f"{name}={value}" for name, value in given.items())
        raise UsageError(
            f"the environment is not one that torchrun makes: {shown}",
            hint=f"unset {VARIABLES[0]}, or torchrun --nproc-per-node N -m detkit ...",
        )
    return Launch(
        rank=rank, processes=processes, local_rank=local_rank, local_processes=local_processes
    )
