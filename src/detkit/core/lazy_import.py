"""Functions as "module:function", imported when first asked for; what to install if that fails."""

from __future__ import annotations

import importlib
import re
from typing import Any

from detkit.core.errors import BackendError

EXTRA = r"extra == ['\"]([\w-]+)['\"]"
DEVELOPMENT = "dev"  # an extra that only repeats the others


def import_function(name: str, target: str) -> Any:
    """Imports the function that `target` names; `name` is what the user calls it.

    Raises:
        BackendError: it needs a package that is not installed here.
    """
    module, function = target.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{name} is not installed: no module '{error.name}'",
            hint=install_hint(error.name or ""),
        ) from error


def install_hint(module: str) -> str:
    """The line to type where a module or package is missing: detkit's extra with it, if any."""
    import importlib.metadata  # imports half of the standard library

    top = module.split(".")[0]
    try:
        requirements = importlib.metadata.requires("detkit") or []
    except importlib.metadata.PackageNotFoundError:  # run from its sources, not installed
        requirements = []
    extra = _extra_with(top.replace("_", "-").lower(), requirements)
    return f"pip install 'detkit[{extra}]'" if extra else f"pip install {top}"


def _extra_with(module: str, requirements: list[str]) -> str:
    """The first extra with a distribution of this name, or of one that begins with it."""
    begins = ""
    for requirement in requirements:
        distribution, _, marker = requirement.partition(";")
        extra = re.search(EXTRA, marker)
        name = re.split(r"[^\w-]", distribution.strip(), maxsplit=1)[0].lower()
        if extra is None or extra[1] == DEVELOPMENT or not name.startswith(module):
            continue
        if name == module:
            return extra[1]
        begins = begins or extra[1]
    return begins
