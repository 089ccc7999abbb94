"""Makes one model in its package's environment: `python -m foreign_models.make PACKAGE INDEX DIR`.

The folder holds the images; `model.onnx` and what the package itself finds come beside them. The
last line printed is the package's version.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path

from foreign_models.recipe import EXPECTED, FILE, write_found


def main(package: str, index: str, where: str) -> None:
    """Makes model number `index` of the package's table."""
    module, folder = import_module(f"foreign_models.of_{package.replace('-', '_')}"), Path(where)
    images = sorted(folder.glob("*.png"))
    found = module.make(module.MODELS[int(index)], folder / FILE, images)
    write_found(folder / EXPECTED, found)
    print(metadata.version(package))


if __name__ == "__main__":
    main(*sys.argv[1:])
