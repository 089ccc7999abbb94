"""Starter weights of our own, shipped with the package, that training starts from by default.

One file an architecture, NAME.safetensors, made by `benchmarks/starter_pack.py`: an ordinary
checkpoint in training form whose kernels lie in float16. `MODEL_CARD.md` beside them says what they
were trained on and what they are bad at, `attributions.json` to whom the images are owed.
"""

from __future__ import annotations

from pathlib import Path

from detkit.core.errors import UsageError

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"


def starter_names() -> tuple[str, ...]:
    """The architectures that there are starter weights of."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))


def starter_path(name: str) -> Path:
    """The checkpoint of the starter weights of this architecture.

    Raises:
        UsageError: there are none.
    """
    if name not in starter_names():
        known = ", ".join(starter_names())
        raise UsageError(
            f"there are no starter weights of '{name}'",
            hint=f"there are those of {known}" if known else "--init none trains from scratch",
        )
    return FOLDER / f"{name}{SUFFIX}"
