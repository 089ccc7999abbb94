"""The openvino package as detkit uses it: the one place that imports it.

On import it would load a telemetry package, which calls out to a server and writes into the user's
home; while the import runs, that package is as good as not installed, and openvino does without.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["hint", "ov", "properties", "the_core"]


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Makes imports of `module` fail within the block, as if it were not installed."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


with _without("openvino_telemetry"):
    import openvino as ov
    import openvino.properties as properties
    import openvino.properties.hint as hint


@functools.cache
def the_core() -> Any:
    """The one `openvino.Core` of this process.

    The CPU plugin gives the thread a signal stack of its own and, when it is deleted, puts back the
    one it found. Of several cores one can put back what another has freed; the next signal that is
    handled there, such as a data loader's SIGCHLD, then kills the process.
    """
    return ov.Core()
