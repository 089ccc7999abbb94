"""How a run in progress is asked to stop, and what is raised where half of the work is useless."""

from __future__ import annotations

import dataclasses


class Stopped(KeyboardInterrupt):
    """A signal came in the middle of work that is worth nothing unless it is finished."""


@dataclasses.dataclass
class StopSignal:
    """Set from a signal handler; a run saves and returns after the step in progress."""

    signal: int = 0

    def check(self) -> None:
        """Raises Stopped once there was a signal."""
        if self.signal:
            raise Stopped
