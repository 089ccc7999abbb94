"""Entries of the plug-in tables: "module:function", imported when first asked for."""

from __future__ import annotations

import importlib
from typing import Any

from detkit.core.errors import BackendError


def load_plugin(name: str, target: str) -> Any:
    """The function that `target` names; `name` is what the user calls it.

    Raises:
        BackendError: it needs a package that is not installed here.
    """
    module, function = target.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{name} is not installed: no module '{error.name}'", hint=f"pip install {error.name}"
        ) from error
