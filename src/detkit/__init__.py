"""Real-time object detection: train, search, quantize, export and measure."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look up `__version__` when it is first asked for, so that `import detkit` stays instant."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib.metadata

    return importlib.metadata.version("detkit")
